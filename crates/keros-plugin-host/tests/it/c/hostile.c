/* A plugin that does to its process what it is told, at train batch end or where its name says. */

#define _POSIX_C_SOURCE 200809L
#include "keros.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const keros_host *host;
    char mode[64];
} hostile;

static int is(const hostile *self, const char *mode) { return strcmp(self->mode, mode) == 0; }

static void hang(void) {
    for (;;) pause();
}

static keros_status on_event(void *instance, const keros_event *event, keros_decision *decision) {
    hostile *self = instance;
    (void)decision;
    if (event->kind != KEROS_TRAIN_BATCH_END) return KEROS_OK;
    if (is(self, "read at first batches") && event->batch == 0) {
        keros_logs logs;
        logs.struct_size = sizeof logs;
        return event->run->logs(event->run, &logs);
    }
    if (is(self, "abort")) abort();
    if (is(self, "kill")) raise(SIGKILL);
    if (is(self, "segfault")) {
        int *volatile nowhere = NULL;
        *nowhere = 1;
    }
    if (is(self, "exit")) exit(3);
    if (is(self, "hang")) hang();
    if (is(self, "spin")) {
        volatile int on = 1;
        while (on) {
        }
    }
    if (is(self, "print")) {
        int c = getchar();
        printf("to stdout\n");
        fflush(stdout);
        fprintf(stderr, "to stderr\n");
        if (c != EOF) return KEROS_E_STATE;
    }
    if (is(self, "dying words")) {
        fprintf(stderr, "first\nthe cable is out\n\n");
        exit(3);
    }
    return KEROS_OK;
}

static void destroy(void *instance) {
    hostile *self = instance;
    if (is(self, "hang at the end")) hang();
    if (is(self, "slow at the end")) sleep(6);
    free(self);
}

static keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    hostile *self = calloc(1, sizeof *self);
    if (self == NULL) return KEROS_E_OTHER;
    if (config.len >= 2 && config.len - 2 < sizeof self->mode)
        memcpy(self->mode, config.ptr + 1, (size_t)config.len - 2);
    if (is(self, "hang at start")) hang();
    if (is(self, "abort at start")) abort();
    self->host = host;
    out->events = KEROS_ALL_EVENTS;
    out->instance = self;
    out->on_event = on_event;
    out->destroy = destroy;
    return KEROS_OK;
}

const keros_plugin_module keros_plugin_v1 = {
    KEROS_MAGIC, sizeof(keros_plugin_module), KEROS_ABI_MAJOR, KEROS_ABI_MINOR, 0,
    "hostile", "1.0.0", "", "", "", "", create, NULL
};
