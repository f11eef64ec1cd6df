/* A plugin whose record, instance or answers are odd: in the ways the macros say when it is compiled,
   and in the way its configuration says when it runs. */
#include "keros.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#ifndef MAGIC
#define MAGIC KEROS_MAGIC
#endif
#ifndef SIZE
#define SIZE sizeof(keros_plugin_module)
#endif
#ifndef MAJOR
#define MAJOR KEROS_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR KEROS_ABI_MINOR
#endif
#ifndef MIN_HOST_MINOR
#define MIN_HOST_MINOR 0
#endif
#ifndef ID
#define ID "odd"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifndef LICENSE
#define LICENSE ""
#endif
#ifndef CREATE
#define CREATE create
#endif
#ifndef ON_EVENT
#define ON_EVENT on_event
#endif
#ifndef DESTROY
#define DESTROY destroy
#endif
#ifndef SYMBOL
#define SYMBOL keros_plugin_v1
#endif

/* The extension "test.counters/1" of the module. */
typedef struct {
    int64_t created;
    int64_t destroyed;
} counters;

static counters count;

typedef struct {
    const keros_host *host;
    const keros_run *run; /* of an earlier event */
    char mode[64];
    int64_t tag;
    keros_status from_thread;
} odd;

static int is(const odd *self, const char *mode) { return strcmp(self->mode, mode) == 0; }

static void *other_thread(void *instance) {
    odd *self = instance;
    double rate;
    const keros_thread_check *check =
        self->host->extension(self->host, keros_text(KEROS_EXT_THREAD_CHECK));
    self->from_thread = self->run->learning_rate(self->run, &rate);
    if (check->in_event(self->host) != 0)
        self->from_thread = 1;
    self->host->message(self->host, KEROS_WARNING, keros_text("from a thread"));
    self->host->fail(self->host, keros_text("not mine to say"));
    return NULL;
}

/* The struct of a later version, assigned as a whole. */
typedef struct {
    keros_decision now;
    uint64_t later[4];
} later_decision;

/* Misuses of the run, each to be refused: the number of the first that was not. */
static int misuses(const keros_run *run) {
    keros_logs logs;
    keros_run_info info;
    keros_value value;
    static char bytes[2] = {(char)0xC3, (char)0x28};
    keros_str bad;
    keros_str null_text;
    bad.ptr = bytes;
    bad.len = 2;
    null_text.ptr = NULL;
    null_text.len = 3;
    value.kind = KEROS_F64;
    value.reserved = 0;
    value.as.f = 1.0;
    logs.struct_size = sizeof logs - 1;
    info.struct_size = sizeof info - 1;
    if (run->logs(run, &logs) != KEROS_E_ARG) return 1;
    if (run->logs(run, NULL) != KEROS_E_ARG) return 2;
    if (run->info(run, &info) != KEROS_E_ARG) return 3;
    if (run->info(run, NULL) != KEROS_E_ARG) return 4;
    if (run->learning_rate(run, NULL) != KEROS_E_ARG) return 5;
    if (run->data_wait_ns(run, NULL) != KEROS_E_ARG) return 6;
    if (run->log(run, keros_text("loss"), NULL) != KEROS_E_ARG) return 7;
    if (run->log(run, bad, &value) != KEROS_E_ARG) return 8;
    if (run->log(run, null_text, &value) != KEROS_E_ARG) return 9;
    if (run->log(run, keros_text("no such log"), &value) != KEROS_E_NOT_FOUND) return 10;
    if (run->set_log(run, keros_text("key"), NULL) != KEROS_E_ARG) return 11;
    if (run->set_log(run, bad, &value) != KEROS_E_ARG) return 12;
    if (run->set_log(run, keros_text(""), &value) != KEROS_E_ARG) return 13;
    value.reserved = 1;
    if (run->set_log(run, keros_text("key"), &value) != KEROS_E_ARG) return 14;
    value.reserved = 0;
    value.kind = 99;
    if (run->set_log(run, keros_text("key"), &value) != KEROS_E_ARG) return 15;
    value.kind = KEROS_BOOL;
    value.as.i = 2;
    if (run->set_log(run, keros_text("key"), &value) != KEROS_E_ARG) return 16;
    value.kind = KEROS_TEXT;
    value.as.s = bad;
    if (run->set_log(run, keros_text("key"), &value) != KEROS_E_ARG) return 17;
    if (run->logs(NULL, &logs) != KEROS_E_ARG) return 18;
    return 0;
}

static int host_misuses(const keros_host *host) {
    keros_str null_text;
    null_text.ptr = NULL;
    null_text.len = 3;
    if (host->message(host, 3, keros_text("text")) != KEROS_E_ARG) return 1;
    if (host->message(host, KEROS_INFO, keros_text("")) != KEROS_E_ARG) return 2;
    if (host->message(host, KEROS_INFO, null_text) != KEROS_E_ARG) return 3;
    if (host->message(NULL, KEROS_INFO, keros_text("text")) != KEROS_E_ARG) return 4;
    if (host->extension(host, keros_text("no.such/1")) != NULL) return 5;
    if (host->extension(host, null_text) != NULL) return 6;
    host->fail(host, null_text);
    return 0;
}

/* Whether what was lent is still there when the training has panicked on the way to more. */
static int is_kept(const odd *self, const keros_run *run) {
    const keros_parameters *parameters =
        self->host->extension(self->host, keros_text(KEROS_EXT_PARAMETERS));
    keros_tensor first;
    keros_tensor second;
    float values[6];
    if (parameters->value(run, 0, &first) != KEROS_OK) return 0;
    memcpy(values, first.data, sizeof values);
    if (parameters->value(run, 1, &second) != KEROS_E_PANIC) return 0;
    return memcmp(values, first.data, sizeof values) == 0;
}

keros_status on_event(void *instance, const keros_event *event, keros_decision *decision) {
    odd *self = instance;
    static char bytes[4] = {'n', 'o', (char)0xFF, 0};
    if (is(self, "unknown status")) return -57;
    if (is(self, "positive status")) return 3;
    if (is(self, "no reason")) return KEROS_E_IO;
    if (is(self, "told twice")) {
        self->host->fail(self->host, keros_text("first"));
        self->host->fail(self->host, keros_text("the cable is out"));
        return KEROS_E_IO;
    }
    if (is(self, "told and forgiven")) {
        self->host->fail(self->host, keros_text("never mind"));
        return event->batch == 0 ? KEROS_OK : KEROS_E_IO;
    }
    if (is(self, "bad fail text")) {
        keros_str text;
        text.ptr = bytes;
        text.len = 3;
        self->host->fail(self->host, text);
        return KEROS_E_OTHER;
    }
    if (is(self, "panic")) {
        self->host->fail(self->host, keros_text("panicked: in C"));
        return KEROS_E_PANIC;
    }
    if (is(self, "unknown actions")) decision->actions = KEROS_STOP | 1u << 20 | 1u << 31;
    if (is(self, "bad reason")) {
        decision->actions = KEROS_STOP;
        decision->reason.ptr = bytes;
        decision->reason.len = 3;
    }
    if (is(self, "null reason")) {
        decision->actions = KEROS_STOP;
        decision->reason.len = 3;
    }
    if (is(self, "long reason")) {
        decision->actions = KEROS_STOP;
        decision->reason.ptr = bytes;
        decision->reason.len = UINT64_MAX;
    }
    if (is(self, "empty reason")) decision->actions = KEROS_STOP;
    if (is(self, "nan rate")) {
        decision->actions = KEROS_SET_LEARNING_RATE;
        decision->learning_rate = 0.0 / (double)(event->epoch);
    }
    if (is(self, "no bit")) {
        decision->learning_rate = -1.0;
        decision->reason.len = UINT64_MAX;
    }
    if (is(self, "later decision")) {
        later_decision later;
        memset(&later, 0xFF, sizeof later);
        later.now.actions = KEROS_STOP_EPOCH;
        *(later_decision *)(void *)decision = later;
    }
    if (is(self, "misuse")) {
        int wrong = misuses(event->run) + 100 * host_misuses(self->host);
        if (wrong != 0) return -1000 - wrong;
    }
    if (is(self, "kept run")) self->run = event->run;
    if (is(self, "thread")) {
        pthread_t thread;
        self->run = event->run;
        if (pthread_create(&thread, NULL, other_thread, self) != 0) return KEROS_E_OTHER;
        pthread_join(thread, NULL);
        if (self->from_thread != KEROS_E_THREAD) return -2000 + self->from_thread;
    }
    if (is(self, "thread check")) {
        const keros_thread_check *check =
            self->host->extension(self->host, keros_text(KEROS_EXT_THREAD_CHECK));
        if (!KEROS_HAS(check, keros_thread_check, in_event)) return KEROS_E_VERSION;
        if (check->in_event(self->host) != 1) return KEROS_E_THREAD;
    }
    if (is(self, "flood")) {
        int sent = 0;
        while (sent < 100000 && self->host->message(self->host, KEROS_INFO, keros_text("x")) == KEROS_OK) sent++;
        if (sent == 100000) return KEROS_E_OTHER;
    }
    if (is(self, "lent"))
        self->host->message(self->host, KEROS_INFO, keros_text(is_kept(self, event->run) ? "kept" : "lost"));
    if (is(self, "logs")) {
        keros_logs logs;
        logs.struct_size = sizeof logs;
        return event->run->logs(event->run, &logs);
    }
    return KEROS_OK;
}

void destroy(void *instance) {
    count.destroyed++;
    free(instance);
}

/* The extension "test.tag/1" of an instance: an int64_t; "test.stale/1": what a kept run answers. */
static const void *of_instance(void *instance, keros_str id) {
    odd *self = instance;
    static keros_status stale;
    keros_logs logs;
    logs.struct_size = sizeof logs;
    if (keros_text_is(id, "test.tag/1")) return &self->tag;
    if (keros_text_is(id, "test.stale/1") && self->run != NULL) {
        stale = self->run->logs(self->run, &logs);
        return &stale;
    }
    return NULL;
}

static const void *of_module(keros_str id) {
    return keros_text_is(id, "test.counters/1") ? &count : NULL;
}

keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    static int64_t next_tag = 100;
    odd *self;
    if (keros_text_is(config, "\"refused\"")) {
        host->fail(host, keros_text("config: nothing suits me"));
        return KEROS_E_CONFIG;
    }
    if (keros_text_is(config, "\"refused silently\"")) return -4000;
    if (host->struct_size < sizeof *host || host->abi_minor != KEROS_ABI_MINOR) return KEROS_E_VERSION;
    if (!keros_text_is(host->name, "keros") || host->version.len == 0) return KEROS_E_ARG;
    if (out->on_event != NULL || out->events != 0 || out->struct_size != sizeof *out) return KEROS_E_ARG;
    self = calloc(1, sizeof *self);
    if (self == NULL) return KEROS_E_OTHER;
    if (config.len >= 2 && config.len - 2 < sizeof self->mode)
        memcpy(self->mode, config.ptr + 1, (size_t)config.len - 2);
    self->host = host;
    self->tag = next_tag++;
    count.created++;
    host->message(host, KEROS_INFO, keros_text("created"));
    out->events = KEROS_ALL_EVENTS;
    out->instance = self;
    out->on_event = ON_EVENT;
    out->destroy = DESTROY;
    out->extension = of_instance;
    return KEROS_OK;
}

#ifdef MISSING
extern int keros_test_no_such_function(void);
int call_it(void);
int call_it(void) { return keros_test_no_such_function(); }
#endif

const keros_plugin_module SYMBOL = {
    MAGIC, SIZE, MAJOR, MINOR, MIN_HOST_MINOR, ID, VERSION, "", LICENSE, "", "", CREATE, of_module
};
