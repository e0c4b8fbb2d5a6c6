/* A stand-in for the Edge TPU's library: a TFLite external delegate that claims `edgetpu-custom-op`.

   Build: cc -O1 -shared -fPIC delegate.c -o standin.so -lm. No header of TFLite is needed: the few
   structures of its C interface (tensorflow/lite/core/c/common.h) that a delegate touches are laid
   out below; both runtimes agree on them.

   What the operator computes follows from its tensors' types and sizes:
     float 1 -> 1             y = 2x + 1                              (tests/tiny.py LINEAR)
     float n -> n             relu                                    (FREE_BATCH)
     uint8 192 -> 4           the colour classifier                   (CLASSIFIER)
     uint8 192 -> 8, 2, 2, 1  the brightness detector                 (DETECTOR)
     anything else            every output byte is a hash of the input

   Options (text, as external delegates take them). An invoke is counted from 0, so with fail_after=0 the
   very first fails:
     fail_after=N  hang_after=N  segfault_after=N   what happens at invoke N and after
     wrong=1        the first output is rotated by one value: another class wins
     off_by_one=1   the lowest bit of the first output's first byte is flipped
     slow_ms=N      every invoke takes so much longer
     claim_nothing=1  no operator is taken over
     refuse_create=1  the delegate cannot be made, and says why
     switch=PATH    a file read at each invoke (and at creation): ok, fail, hang, segfault, wrong,
                    off_by_one or absent. A missing file means ok. While it says absent no delegate can
                    be made, and a running one fails.
   Other options, such as device, are ignored. */

#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, ERROR = 1, FLOAT32 = 1, DYNAMIC_TENSORS = 1 };

typedef struct { int size; int data[]; } IntArray;

typedef struct {
  int type;
  void *data;
  IntArray *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  void *delegate;
  int buffer_handle;
  _Bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const IntArray *dims_signature;
} Tensor;

typedef struct { IntArray *inputs, *outputs, *intermediates, *temporaries; void *user_data; } Node;

typedef struct Context Context;
typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *later[8]; /* what newer runtimes added: all zero means absent */
} Registration;

typedef struct Delegate Delegate;
struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context *, IntArray **);
  Tensor *tensors;
  void *impl;
  int (*resize_tensor)(Context *, Tensor *, IntArray *);
  void (*report_error)(Context *, const char *, ...);
  int (*add_tensors)(Context *, int, int *);
  int (*get_node_and_registration)(Context *, int, Node **, Registration **);
  int (*replace_nodes)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *builder;
};

typedef struct {
  Delegate delegate; /* first: a pointer to it is a pointer to the whole */
  long invokes, fail_after, hang_after, segfault_after, slow_ms;
  int wrong, off_by_one, claim_nothing;
  char switch_path[4096];
} StandIn;

static StandIn *current; /* one a process, as with the Edge TPU's library */

static void read_switch(char *mode, size_t size) {
  snprintf(mode, size, "ok");
  FILE *file = current->switch_path[0] ? fopen(current->switch_path, "r") : NULL;
  if (!file) return;
  if (fgets(mode, (int)size, file)) mode[strcspn(mode, "\r\n ")] = 0;
  fclose(file);
}

static void classify(const uint8_t *image, uint8_t *scores) {
  int logits[4], largest = 0;
  double sum = 0;
  for (int class = 0; class < 4; class++) {
    long total = 0; /* stored 128 is 0: a class gains 64 a step of its channel and loses 32 by the others */
    for (int place = 0; class && place < 192; place++) total += image[place] * (place % 3 == class - 1 ? 64 : -32);
    double logit = 128 + round(total * 8.0 / (255.0 * 512.0));
    logits[class] = logit < 0 ? 0 : logit > 255 ? 255 : (int)logit;
    if (logits[class] > largest) largest = logits[class];
  }
  for (int class = 0; class < 4; class++) sum += exp((logits[class] - largest) / 8.0);
  for (int class = 0; class < 4; class++) {
    double score = floor(exp((logits[class] - largest) / 8.0) / sum * 256.0 + 0.5);
    scores[class] = score > 255 ? 255 : (uint8_t)score;
  }
}

static void detect(const uint8_t *image, float *boxes, float *classes, float *scores, float *count) {
  static const float both[8] = {0, 0, 1, 0.5f, 0, 0.5f, 1, 1};
  memcpy(boxes, both, sizeof both);
  classes[0] = 0, classes[1] = 1, scores[0] = scores[1] = 0, count[0] = 2;
  for (int place = 0; place < 192; place++) scores[place / 3 % 8 >= 4] += image[place] / 255.0f / 96.0f;
}

static void anything(const Tensor *input, Tensor *output) {
  uint32_t hash = 2166136261u;
  for (size_t place = 0; place < input->bytes; place += 97) hash = (hash ^ ((uint8_t *)input->data)[place]) * 16777619u;
  for (size_t place = 0; place < output->bytes; place++) ((uint8_t *)output->data)[place] = (uint8_t)(hash >> (place % 4 * 8));
}

static void compute(Context *context, Node *node) {
  const Tensor *input = &context->tensors[node->inputs->data[0]];
  Tensor *output = &context->tensors[node->outputs->data[0]];
  if (input->type == FLOAT32 && input->bytes == 4)
    *(float *)output->data = 2 * *(float *)input->data + 1;
  else if (input->type == FLOAT32 && input->bytes == output->bytes)
    for (size_t place = 0; place < input->bytes / 4; place++)
      ((float *)output->data)[place] = fmaxf(((float *)input->data)[place], 0);
  else if (input->bytes == 192 && node->outputs->size == 4)
    detect(input->data, output->data, context->tensors[node->outputs->data[1]].data,
           context->tensors[node->outputs->data[2]].data, context->tensors[node->outputs->data[3]].data);
  else if (input->bytes == 192 && output->bytes == 4)
    classify(input->data, output->data);
  else
    for (int number = 0; number < node->outputs->size; number++)
      anything(input, &context->tensors[node->outputs->data[number]]);
}

static void spoil(Tensor *output, int rotate) {
  uint8_t *bytes = output->data;
  size_t step = output->type == FLOAT32 ? 4 : 1, size = output->bytes;
  if (!rotate || size <= step) {
    bytes[0] ^= 1;
    return;
  }
  uint8_t first[4];
  memcpy(first, bytes, step);
  memmove(bytes, bytes + step, size - step);
  memcpy(bytes + size - step, first, step);
}

static int kernel_prepare(Context *context, Node *node) { return (void)context, (void)node, OK; }

static int kernel_invoke(Context *context, Node *node) {
  char mode[64];
  long number = current->invokes++;
  read_switch(mode, sizeof mode);
  if (current->slow_ms) usleep((useconds_t)current->slow_ms * 1000);
  if (number >= current->segfault_after || !strcmp(mode, "segfault")) *(volatile int *)8 = 1;
  if (number >= current->hang_after || !strcmp(mode, "hang"))
    for (;;) pause();
  if (number >= current->fail_after || !strcmp(mode, "fail") || !strcmp(mode, "absent")) {
    context->report_error(context, "stand-in: the device was lost at invoke %ld", number);
    return ERROR;
  }
  compute(context, node);
  int wrong = current->wrong || !strcmp(mode, "wrong");
  if (wrong || current->off_by_one || !strcmp(mode, "off_by_one"))
    spoil(&context->tensors[node->outputs->data[0]], wrong);
  return OK;
}

static int prepare(Context *context, Delegate *delegate) {
  IntArray *plan;
  if (((StandIn *)delegate)->claim_nothing) return OK;
  if (context->get_execution_plan(context, &plan) != OK) return ERROR;
  IntArray *claimed = calloc(1, sizeof *claimed + (size_t)plan->size * sizeof(int));
  for (int place = 0; place < plan->size; place++) {
    Node *node;
    Registration *registration;
    if (context->get_node_and_registration(context, plan->data[place], &node, &registration) != OK) continue;
    const char *name = registration->custom_name;
    if (name && !strcmp(name, "edgetpu-custom-op")) claimed->data[claimed->size++] = plan->data[place];
  }
  Registration kernel = {.prepare = kernel_prepare, .invoke = kernel_invoke, .custom_name = "StandIn", .version = 1};
  int status = claimed->size ? context->replace_nodes(context, kernel, claimed, delegate) : OK;
  free(claimed);
  return status;
}

static void set_option(StandIn *made, const char *key, const char *value) {
  long number = !strcmp(value, "True") || !strcmp(value, "true") ? 1 : strtol(value, NULL, 10);
  if (!strcmp(key, "fail_after")) made->fail_after = number;
  if (!strcmp(key, "hang_after")) made->hang_after = number;
  if (!strcmp(key, "segfault_after")) made->segfault_after = number;
  if (!strcmp(key, "slow_ms")) made->slow_ms = number;
  if (!strcmp(key, "wrong")) made->wrong = (int)number;
  if (!strcmp(key, "off_by_one")) made->off_by_one = (int)number;
  if (!strcmp(key, "claim_nothing")) made->claim_nothing = (int)number;
  if (!strcmp(key, "switch")) snprintf(made->switch_path, sizeof made->switch_path, "%s", value);
}

__attribute__((visibility("default"))) Delegate *tflite_plugin_create_delegate(
    char **keys, char **values, size_t count, void (*report)(const char *)) {
  char mode[64];
  int refused = 0;
  StandIn *made = calloc(1, sizeof *made);
  made->delegate.prepare = prepare;
  made->delegate.flags = DYNAMIC_TENSORS;
  made->fail_after = made->hang_after = made->segfault_after = INT64_MAX;
  for (size_t place = 0; place < count; place++) {
    set_option(made, keys[place], values[place]);
    refused |= !strcmp(keys[place], "refuse_create");
  }
  current = made;
  read_switch(mode, sizeof mode);
  if (!refused && strcmp(mode, "absent")) return &made->delegate;
  if (report) report(refused ? "stand-in: refused as asked" : "stand-in: no device is there");
  free(made);
  current = NULL;
  return NULL;
}

__attribute__((visibility("default"))) void tflite_plugin_destroy_delegate(Delegate *delegate) {
  if (current == (StandIn *)delegate) current = NULL;
  free(delegate);
}
