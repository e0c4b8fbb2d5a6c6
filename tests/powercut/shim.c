/* Writes down, in order, everything a program does to the files below one folder.
 *
 *   LD_PRELOAD=shim.so POWERCUT_ROOT=/folder POWERCUT_LOG=/elsewhere/log program ...
 *
 * What the log holds is enough to make the folder as a power cut at any moment could have left it
 * (disk.py): data and the sync that makes it safe are separate records, and so are a file's name and
 * the sync of its folder. The program itself works on the real files.
 *
 * A program calls powercut_mark("...") to say what it holds to be safe at that point.
 * POWERCUT_REFUSE names a file with an errno: while it is not 0, every change below the folder fails so.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 4096
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

struct file { uint64_t inode; char *path; int folder; };

static struct file files[MOST_FILES];
static char root[PATH_MAX];
static size_t root_length;
static int log_file = -1;
static const char *refuse;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void)
{
    const char *folder = getenv("POWERCUT_ROOT"), *log = getenv("POWERCUT_LOG");
    refuse = getenv("POWERCUT_REFUSE");
    if (!folder || !realpath(folder, root)) return;
    root_length = strlen(root);
    if (log) log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

static void record(char kind, int64_t inode, int64_t at, const void *data, uint64_t length)
{
    struct { char kind; char pad[7]; int64_t inode, at; uint64_t length; } head = {kind, {0}, inode, at, length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, length}};
    int saved = errno;
    if (log_file >= 0) syscall(SYS_writev, log_file, parts, length ? 2 : 1);
    errno = saved;
}

static void record_path(char kind, int64_t inode, const char *path)
{
    record(kind, inode, 0, path, strlen(path));
}

void powercut_mark(const char *text)
{
    pthread_mutex_lock(&lock);
    record_path('N', 0, text);
    pthread_mutex_unlock(&lock);
}

/* Whether changes are refused now; sets errno. */
static int refused(void)
{
    char text[16] = {0};
    int number, file;
    if (!refuse) return 0;
    file = syscall(SYS_openat, AT_FDCWD, refuse, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    number = syscall(SYS_read, file, text, sizeof text - 1) > 0 ? atoi(text) : 0;
    syscall(SYS_close, file);
    if (number) errno = number;
    return number != 0;
}

/* The absolute path of what is named, when it is the folder or lies below it. */
static int watched(int folder, const char *path, char *out)
{
    char link[64];
    ssize_t length;
    if (!root_length || !path) return 0;
    if (path[0] == '/') {
        if (strlen(path) >= PATH_MAX) return 0;
        strcpy(out, path);
    } else {
        if (folder == AT_FDCWD) {
            if (!getcwd(out, PATH_MAX)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            length = readlink(link, out, PATH_MAX - 1);
            if (length < 0) return 0;
            out[length] = 0;
        }
        if (strlen(out) + strlen(path) + 2 > PATH_MAX) return 0;
        strcat(strcat(out, "/"), path);
    }
    return !strncmp(out, root, root_length) && (out[root_length] == '/' || !out[root_length]);
}

static struct file *known(int fd)
{
    return fd >= 0 && fd < MOST_FILES && files[fd].inode ? &files[fd] : NULL;
}

static void remember(int fd, const char *path, int existed, int flags)
{
    struct stat about;
    if (fd < 0 || fstat(fd, &about)) return;
    if (fd >= MOST_FILES) { record_path('!', 0, "too many open files"); return; }
    free(files[fd].path);
    files[fd] = (struct file){about.st_ino, strdup(path), S_ISDIR(about.st_mode)};
    if (files[fd].folder || (flags & O_ACCMODE) == O_RDONLY) return;
    if (!existed) record_path('O', about.st_ino, path);
    else if (flags & O_TRUNC) record('T', about.st_ino, 0, NULL, 0);
}

/* What the file holds now in a range that was just written. */
static void record_range(int fd, int64_t at, int64_t length)
{
    char name[64], *data = malloc(length);
    int copy, saved = errno;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    copy = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
    if (!data || copy < 0 || syscall(SYS_pread64, copy, data, length, at) != length)
        record_path('!', 0, "a write cannot be read back");
    else
        record('W', known(fd)->inode, at, data, length);
    if (copy >= 0) syscall(SYS_close, copy);
    free(data);
    errno = saved;
}

static void record_here(int fd, int64_t length)
{
    record_range(fd, lseek(fd, 0, SEEK_CUR) - length, length);
}

static int opening(int folder, const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    struct stat about;
    int fd, existed, changes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    if (!watched(folder, path, full)) return syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    if (changes && refused()) { pthread_mutex_unlock(&lock); return -1; }
    existed = !stat(full, &about);
    fd = syscall(SYS_openat, folder, path, flags, mode);
    remember(fd, full, existed, flags);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opening(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opening(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opening(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd)
{
    pthread_mutex_lock(&lock);
    if (known(fd)) { free(files[fd].path); files[fd] = (struct file){0}; }
    pthread_mutex_unlock(&lock);
    return syscall(SYS_close, fd);
}

/* One system call that changes a watched file, and what is written down when it succeeded. */
#define CHANGES(fd, type, call, log) \
    struct file *file; \
    type done; \
    pthread_mutex_lock(&lock); \
    file = known(fd); \
    if (file && refused()) done = -1; \
    else { done = (call); if (file && done >= 0) { log; } } \
    pthread_mutex_unlock(&lock); \
    return done

ssize_t write(int fd, const void *data, size_t n) { CHANGES(fd, ssize_t, syscall(SYS_write, fd, data, n), if (done) record_here(fd, done)); }
ssize_t writev(int fd, const struct iovec *v, int n) { CHANGES(fd, ssize_t, syscall(SYS_writev, fd, v, n), if (done) record_here(fd, done)); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { CHANGES(fd, ssize_t, syscall(SYS_pwrite64, fd, data, n, at), if (done) record_range(fd, at, done)); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) { CHANGES(fd, ssize_t, syscall(SYS_pwrite64, fd, data, n, at), if (done) record_range(fd, at, done)); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at) { CHANGES(fd, ssize_t, syscall(SYS_pwritev, fd, v, n, at, 0), if (done) record_range(fd, at, done)); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) { CHANGES(fd, ssize_t, syscall(SYS_pwritev, fd, v, n, at, 0), if (done) record_range(fd, at, done)); }
ssize_t sendfile(int fd, int in, off_t *at, size_t n) { CHANGES(fd, ssize_t, syscall(SYS_sendfile, fd, in, at, n), if (done) record_here(fd, done)); }
ssize_t sendfile64(int fd, int in, off64_t *at, size_t n) { CHANGES(fd, ssize_t, syscall(SYS_sendfile, fd, in, at, n), if (done) record_here(fd, done)); }
ssize_t copy_file_range(int in, off64_t *from, int fd, off64_t *to, size_t n, unsigned flags) { CHANGES(fd, ssize_t, syscall(SYS_copy_file_range, in, from, fd, to, n, flags), if (done) { if (to) record_range(fd, *to - done, done); else record_here(fd, done); }); }
int ftruncate(int fd, off_t size) { CHANGES(fd, int, syscall(SYS_ftruncate, fd, size), record('T', file->inode, size, NULL, 0)); }
int ftruncate64(int fd, off64_t size) { CHANGES(fd, int, syscall(SYS_ftruncate, fd, size), record('T', file->inode, size, NULL, 0)); }
int fallocate(int fd, int mode, off_t at, off_t n) { CHANGES(fd, int, syscall(SYS_fallocate, fd, mode, at, n), record_path('!', 0, "fallocate")); }
int fallocate64(int fd, int mode, off64_t at, off64_t n) { CHANGES(fd, int, syscall(SYS_fallocate, fd, mode, at, n), record_path('!', 0, "fallocate")); }

static void record_sync(const struct file *file)
{
    if (file->folder) record_path('D', file->inode, file->path);
    else record('S', file->inode, 0, NULL, 0);
}

int fsync(int fd) { CHANGES(fd, int, syscall(SYS_fsync, fd), record_sync(file)); }
int fdatasync(int fd) { CHANGES(fd, int, syscall(SYS_fdatasync, fd), record_sync(file)); }

static void *mapping(void *place, size_t n, int protection, int flags, int fd, off64_t at)
{
    void *made = (void *)syscall(SYS_mmap, place, n, protection, flags, fd, at);
    struct file *file = known(fd);
    if (file && made != MAP_FAILED && flags & MAP_SHARED && protection & PROT_WRITE) {
        pthread_mutex_lock(&lock);
        record_path('M', file->inode, file->path); /* changes without a call: see disk.py */
        pthread_mutex_unlock(&lock);
    }
    return made;
}

void *mmap(void *place, size_t n, int protection, int flags, int fd, off_t at) { return mapping(place, n, protection, flags, fd, at); }
void *mmap64(void *place, size_t n, int protection, int flags, int fd, off64_t at) { return mapping(place, n, protection, flags, fd, at); }

/* One system call that changes a name. */
static int naming(char kind, int folder, const char *path, long call, int flags)
{
    char full[PATH_MAX];
    int done, ours = watched(folder, path, full);
    pthread_mutex_lock(&lock);
    if (ours && refused()) done = -1;
    else done = syscall(call, folder, path, flags);
    if (ours && !done) record_path(kind, 0, full);
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) { return naming('U', AT_FDCWD, path, SYS_unlinkat, 0); }
int unlinkat(int folder, const char *path, int flags) { return naming(flags & AT_REMOVEDIR ? 'X' : 'U', folder, path, SYS_unlinkat, flags); }
int rmdir(const char *path) { return naming('X', AT_FDCWD, path, SYS_unlinkat, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { return naming('K', AT_FDCWD, path, SYS_mkdirat, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return naming('K', folder, path, SYS_mkdirat, mode); }

static int renaming(int from, const char *old, int to, const char *new, unsigned flags)
{
    char both[2 * PATH_MAX], full[PATH_MAX];
    int done, ours = watched(from, old, both), theirs = watched(to, new, full);
    pthread_mutex_lock(&lock);
    if ((ours || theirs) && refused()) done = -1;
    else done = syscall(SYS_renameat2, from, old, to, new, flags);
    if (!done && ours && theirs) {
        size_t first = strlen(both) + 1;
        strcpy(both + first, full);
        record('R', 0, 0, both, first + strlen(full));
    } else if (!done && ours != theirs) record_path('!', 0, "rename across the folder's border");
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *old, const char *new) { return renaming(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return renaming(from, old, to, new, 0); }
int renameat2(int from, const char *old, int to, const char *new, unsigned flags) { return renaming(from, old, to, new, flags); }

static int linking(const char *new)
{
    char full[PATH_MAX];
    if (!watched(AT_FDCWD, new, full)) return 0;
    record_path('!', 0, "link");
    return refused() ? -1 : 0;
}

int link(const char *old, const char *new) { return linking(new) ? -1 : NEXT(link)(old, new); }
int symlink(const char *old, const char *new) { return linking(new) ? -1 : NEXT(symlink)(old, new); }
