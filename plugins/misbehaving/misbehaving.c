/* A plugin that does what no plugin should, for tests: what is wrong with its file or its record is a macro
   when it is compiled, what is wrong with its behaviour is its configuration, a JSON string such as
   "segfault in on_event". README.md lists both. */
#include "keros.h"

#include <math.h>
#include <stdlib.h>

#ifndef MAGIC
#define MAGIC KEROS_MAGIC
#endif
#ifndef STRUCT_SIZE
#define STRUCT_SIZE sizeof(keros_plugin_module)
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
#define ID "misbehaving-c"
#endif
#ifndef SUMMARY
#define SUMMARY "Does what no plugin should, for tests"
#endif
#ifndef CREATE
#define CREATE create
#endif

#ifndef SYMBOL
#define SYMBOL keros_plugin_v1
#endif

/* An instance. */
typedef struct misbehaving {
    const keros_host *host;
    char how[64];
} misbehaving;

static const unsigned char not_text[3] = {'n', 'o', 0xFF};

static keros_str bad_text(void) {
    keros_str text;
    text.ptr = (const char *)not_text;
    text.len = sizeof not_text;
    return text;
}

static int is(const misbehaving *self, const char *how) { return strcmp(self->how, how) == 0; }

/* Whether it is to misbehave as `how` in this function. */
static int in(const misbehaving *self, const char *how, const char *function) {
    size_t len = strlen(how);
    return strncmp(self->how, how, len) == 0 && strncmp(self->how + len, " in ", 4) == 0 &&
           strcmp(self->how + len + 4, function) == 0;
}

/* The ways that end or hold up the process, wherever they are wanted. */
static void misbehave(const misbehaving *self, const char *function) {
    volatile int *nowhere = NULL;
    volatile int always = 1;
    if (in(self, "segfault", function)) *nowhere = 1;
    if (in(self, "abort", function)) abort();
    if (in(self, "exit", function)) exit(0);
    while (in(self, "hang", function) && always) {
    }
}

static keros_status on_event(void *instance, const keros_event *event, keros_decision *decision) {
    misbehaving *self = instance;
    const keros_host *host = self->host;
    misbehave(self, "on_event");
    if (is(self, "free the run")) free((void *)(uintptr_t)event->run);
    if (is(self, "free the event")) free((void *)(uintptr_t)event);
    if (is(self, "panic")) {
        host->fail(host, keros_text("panicked: in C"));
        return KEROS_E_PANIC;
    }
    if (is(self, "fail")) {
        host->fail(host, keros_text("the cable is out"));
        return KEROS_E_IO;
    }
    if (is(self, "unknown status")) return -57;
    if (is(self, "unknown actions")) decision->actions = 1u << 20;
    if (is(self, "bad reason")) {
        decision->actions = KEROS_STOP;
        decision->reason = bad_text();
    }
    if (is(self, "null reason")) {
        decision->actions = KEROS_STOP;
        decision->reason.len = 3;
    }
    if (is(self, "bad learning rate")) {
        decision->actions = KEROS_SET_LEARNING_RATE;
        decision->learning_rate = (double)NAN;
    }
    if (is(self, "bad words")) {
        host->fail(host, bad_text());
        return KEROS_E_OTHER;
    }
    if (is(self, "bad message")) host->message(host, KEROS_INFO, bad_text());
    return KEROS_OK;
}

static keros_status save(void *instance, const keros_sink *sink) {
    misbehave(instance, "save");
    if (is(instance, "state from nowhere")) return sink->write(sink, NULL, 8);
    return sink->write(sink, "state", 5);
}

static keros_status load(void *instance, const void *bytes, uint64_t len) {
    (void)bytes;
    misbehave(instance, "load");
    if (is(instance, "refuse its state")) return KEROS_E_VERSION;
    return len == 5 ? KEROS_OK : KEROS_E_ARG;
}

static void message(void *instance, uint32_t level, keros_str source, keros_str text) {
    (void)level;
    (void)source;
    (void)text;
    misbehave(instance, "message");
}

static const void *of_instance(void *instance, keros_str id) {
    static const keros_messages messages = {sizeof(keros_messages), 0, message};
    static const keros_state state = {sizeof(keros_state), 0, save, load};
    static const keros_state cut_off = {sizeof(keros_state) - 1, 0, save, load};
    if (keros_text_is(id, KEROS_EXT_MESSAGES)) return &messages;
    if (!keros_text_is(id, KEROS_EXT_STATE)) return NULL;
    return is(instance, "state cut off") ? &cut_off : &state;
}

static void destroy(void *instance) {
    int twice = is(instance, "free twice");
    void *volatile again = instance;
    misbehave(instance, "destroy");
    free(instance);
    if (twice) free(again);
}

static void at_exit(void) { abort(); }

/* Not static: it may be unused. */
keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    misbehaving *self = calloc(1, sizeof *self);
    if (self == NULL) return KEROS_E_OTHER;
    self->host = host;
    if (config.len >= 2 && config.len - 2 < sizeof self->how)
        memcpy(self->how, config.ptr + 1, (size_t)config.len - 2);
    misbehave(self, "create");
    if (is(self, "refuse")) {
        free(self);
        host->fail(host, keros_text("nothing suits me"));
        return KEROS_E_CONFIG;
    }
    if (is(self, "abort at the end of the process")) atexit(at_exit);
    out->events = KEROS_ALL_EVENTS;
    out->instance = self;
    out->on_event = is(self, "null on_event") ? NULL : on_event;
    out->destroy = is(self, "null destroy") ? NULL : destroy;
    out->extension = of_instance;
    return KEROS_OK;
}

#ifdef SELF_TEST
static keros_status self_test(const keros_host *host) {
    volatile int always = 1;
    if (SELF_TEST == 0) abort();
    while (SELF_TEST == 1 && always) {
    }
    host->fail(host, keros_text("there is no such device"));
    return KEROS_E_OTHER;
}
#endif

/* Extensions of the module. */
static const void *of_module(keros_str id) {
#ifdef SCHEMA
    static keros_schema schema;
    schema.struct_size = sizeof schema;
    schema.json = keros_text(SCHEMA);
    if (keros_text_is(id, KEROS_EXT_SCHEMA)) return &schema;
#endif
#ifdef SELF_TEST
    static const keros_self_test test = {sizeof(keros_self_test), 0, self_test};
    if (keros_text_is(id, KEROS_EXT_SELF_TEST)) return &test;
#endif
    (void)id;
    return NULL;
}

#ifdef WHEN_LOADED
__attribute__((constructor)) static void when_loaded(void) {
    volatile int always = 1;
    if (WHEN_LOADED == 0) abort();
    while (always) {
    }
}
#endif

#ifdef MISSING
extern int keros_no_such_function(void);
int call_it(void);
int call_it(void) { return keros_no_such_function(); }
#endif

KEROS_EXPORT const keros_plugin_module SYMBOL = {
    MAGIC, STRUCT_SIZE, MAJOR, MINOR, MIN_HOST_MINOR, ID, "1.0.0", "", "", SUMMARY, "", CREATE, of_module,
};
