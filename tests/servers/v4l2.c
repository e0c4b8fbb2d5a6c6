/* A V4L2 camera that is not there: preloaded into a process (LD_PRELOAD), it answers for every device
 * path that ends in "video0" as a driver would, so that OpenCV's own V4L2 code runs against it.
 *
 * It gives 64x48 as YUYV or MJPG, 50 pictures a second. The environment says the rest:
 * V4L2_PICTURES is a folder of JPEG files 0.jpg to 7.jpg; V4L2_SWITCH a file that is read before each
 * picture: well, hang, corrupt, close (unplugged: ENODEV), refuse (EBUSY at opening).
 * V4L2_AGE_MS: how long before it is handed out a picture was taken.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#undef open
#undef open64
#undef mmap
#undef mmap64

enum { WIDTH = 64, HEIGHT = 48, BUFFERS = 4, BYTES = WIDTH * HEIGHT * 2, PICTURES = 8 };

static int device = -1, ticks = -1, streaming;
static unsigned format = V4L2_PIX_FMT_YUYV, number;
static unsigned char *memory[BUFFERS], *jpeg[PICTURES];
static size_t jpeg_bytes[PICTURES];
static int queue[BUFFERS], queued;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int says(const char *word)
{
    char text[16] = "";
    FILE *file = fopen(getenv("V4L2_SWITCH"), "r");
    if (file) {
        if (!fgets(text, sizeof text, file)) text[0] = 0;
        fclose(file);
    }
    return strcmp(text, word) == 0;
}

static void load(void)
{
    for (int i = 0; i < PICTURES && !jpeg[i]; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%d.jpg", getenv("V4L2_PICTURES"), i);
        FILE *file = fopen(path, "rb");
        jpeg[i] = calloc(1, BYTES);
        if (file) {
            jpeg_bytes[i] = fread(jpeg[i], 1, BYTES, file);
            fclose(file);
        }
    }
}

/* The sensor: a byte into the pipe for each picture makes the device readable. */
static void *tick(void *unused)
{
    struct timespec pause = {0, 20000000};
    (void)unused;
    for (;;) {
        nanosleep(&pause, NULL);
        if (says("hang")) continue;
        pthread_mutex_lock(&lock);
        int end = ticks;
        if (end >= 0 && says("close")) {
            close(end);
            end = ticks = -1;
        }
        if (end >= 0 && streaming && write(end, "x", 1) < 0) { /* full: a picture nobody fetched */ }
        pthread_mutex_unlock(&lock);
        if (end < 0) return NULL;
    }
}

static int open_camera(void)
{
    int ends[2];
    pthread_t thread;
    if (says("refuse") || device >= 0) {
        errno = EBUSY;
        return -1;
    }
    load();
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC)) return -1;
    device = ends[0], ticks = ends[1], streaming = queued = 0;
    pthread_create(&thread, NULL, tick, NULL);
    pthread_detach(thread);
    return device;
}

static int is_camera(const char *path)
{
    size_t length = strlen(path);
    return length >= 6 && strcmp(path + length - 6, "video0") == 0;
}

#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...)                                           \
    {                                                                                    \
        static int (*real)(const char *, int, ...);                                      \
        va_list more;                                                                    \
        va_start(more, flags);                                                           \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;                \
        va_end(more);                                                                    \
        if (is_camera(path)) return open_camera();                                       \
        if (!real) real = dlsym(RTLD_NEXT, #name);                                       \
        return real(path, flags, mode);                                                  \
    }
OPEN(open)
OPEN(open64)

int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }

int close(int fd)
{
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd == device) {
        pthread_mutex_lock(&lock);
        if (ticks >= 0) real(ticks);
        device = ticks = -1;
        pthread_mutex_unlock(&lock);
    }
    return real(fd);
}

#define MMAP(name, offset_type)                                                          \
    void *name(void *at, size_t length, int protection, int flags, int fd, offset_type offset) \
    {                                                                                    \
        static void *(*real)(void *, size_t, int, int, int, offset_type);                \
        if (!real) real = dlsym(RTLD_NEXT, #name);                                       \
        if (fd < 0 || fd != device) return real(at, length, protection, flags, fd, offset); \
        /* The reader may only ask to read; the driver writes. */                        \
        return memory[offset / BYTES] = real(NULL, length, PROT_READ | PROT_WRITE,       \
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);        \
    }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

static int set_format(struct v4l2_format *wanted)
{
    unsigned asked = wanted->fmt.pix.pixelformat;
    if (asked != V4L2_PIX_FMT_MJPEG && asked != V4L2_PIX_FMT_YUYV) asked = V4L2_PIX_FMT_YUYV;
    memset(&wanted->fmt, 0, sizeof wanted->fmt);
    wanted->fmt.pix = (struct v4l2_pix_format){.width = WIDTH, .height = HEIGHT, .pixelformat = asked,
        .field = V4L2_FIELD_NONE, .bytesperline = asked == V4L2_PIX_FMT_YUYV ? WIDTH * 2 : 0,
        .sizeimage = BYTES, .colorspace = V4L2_COLORSPACE_SRGB};
    format = asked;
    return 0;
}

static size_t draw(unsigned char *picture)
{
    if (format == V4L2_PIX_FMT_MJPEG) {
        size_t bytes = jpeg_bytes[number % PICTURES];
        if (number % 3 == 0 && says("corrupt")) bytes /= 2;
        memcpy(picture, jpeg[number % PICTURES], bytes);
        return bytes;
    }
    for (int i = 0; i < BYTES; i += 2) {
        picture[i] = (i / 2 + number) % WIDTH < 8 ? 235 : 80;
        picture[i + 1] = i % 4 ? 160 : 90; /* V, U: reddish */
    }
    return BYTES;
}

static int dequeue(struct v4l2_buffer *buffer)
{
    char byte;
    ssize_t got = read(device, &byte, 1);
    if (got <= 0 || !queued) {
        errno = got == 0 ? ENODEV : EAGAIN;
        return -1;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long us = now.tv_sec * 1000000LL + now.tv_nsec / 1000;
    us -= getenv("V4L2_AGE_MS") ? atoll(getenv("V4L2_AGE_MS")) * 1000 : 0;
    buffer->index = queue[0];
    memmove(queue, queue + 1, --queued * sizeof *queue);
    buffer->bytesused = draw(memory[buffer->index]);
    buffer->sequence = number++;
    buffer->length = BYTES;
    buffer->flags = V4L2_BUF_FLAG_MAPPED | V4L2_BUF_FLAG_DONE | V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    buffer->timestamp.tv_sec = us / 1000000;
    buffer->timestamp.tv_usec = us % 1000000;
    return 0;
}

static int answer(unsigned long request, void *data)
{
    struct v4l2_buffer *buffer = data;
    struct v4l2_format *wanted = data;
    switch (request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *able = data;
        memset(able, 0, sizeof *able);
        strcpy((char *)able->driver, "stand-in");
        able->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING | V4L2_CAP_DEVICE_CAPS;
        able->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    }
    case VIDIOC_G_FMT:
        wanted->fmt.pix.pixelformat = format;
        return set_format(wanted);
    case VIDIOC_TRY_FMT:
    case VIDIOC_S_FMT:
        return set_format(wanted);
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_streamparm *rate = data;
        rate->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
        rate->parm.capture.timeperframe = (struct v4l2_fract){1, 50};
        return 0;
    }
    case VIDIOC_REQBUFS: {
        struct v4l2_requestbuffers *wish = data;
        if (wish->count > BUFFERS) wish->count = BUFFERS;
        queued = 0;
        return 0;
    }
    case VIDIOC_QUERYBUF:
        buffer->length = BYTES;
        buffer->m.offset = buffer->index * BYTES;
        return 0;
    case VIDIOC_QBUF:
        queue[queued++] = buffer->index;
        return 0;
    case VIDIOC_DQBUF:
        return dequeue(buffer);
    case VIDIOC_STREAMON:
        streaming = 1;
        return 0;
    case VIDIOC_STREAMOFF:
        streaming = queued = 0;
        return 0;
    default:
        errno = EINVAL;
        return -1;
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    va_list more;
    va_start(more, request);
    void *data = va_arg(more, void *);
    va_end(more);
    if (fd >= 0 && fd == device) return answer(request, data);
    if (!real) real = dlsym(RTLD_NEXT, "ioctl");
    return real(fd, request, data);
}
