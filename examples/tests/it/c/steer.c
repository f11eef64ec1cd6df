/* Writes down every event of a training with its logs to the bit, slows it down and stops it.
   Configuration: {"path":"FILE"}, without spaces and escapes. */
#include "keros.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t bits_of(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}

static keros_status on_event(void *instance, const keros_event *event, keros_decision *decision) {
    FILE *file = instance;
    const keros_run *run = event->run;
    keros_logs logs;
    double rate = 0.0;
    uint64_t i;
    keros_status status;

    fprintf(file, "%" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, event->kind,
            event->epoch, event->batch, event->step, event->samples, event->flags);
    if (run->learning_rate(run, &rate) == KEROS_OK)
        fprintf(file, " %" PRIx64, bits_of(rate));
    logs.struct_size = sizeof logs;
    status = run->logs(run, &logs);
    if (status != KEROS_OK)
        return status;
    for (i = 0; i < logs.count; i++) {
        const keros_log *log = keros_log_at(&logs, i);
        fprintf(file, " %.*s=%" PRIx64, (int)log->key.len, log->key.ptr, bits_of(log->value.as.f));
    }
    fputs("\n", file);

    if (event->kind == KEROS_EPOCH_BEGIN) {
        decision->actions |= KEROS_SET_LEARNING_RATE;
        decision->learning_rate = 0.001 / (double)(event->epoch + 1);
    }
    if (event->kind == KEROS_TRAIN_BATCH_END && event->epoch == 1 && event->batch == 2) {
        decision->actions |= KEROS_STOP;
        decision->reason = keros_text("C has seen enough");
    }
    return KEROS_OK;
}

static void destroy(void *instance) { fclose(instance); }

static keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    static const char before[] = "{\"path\":\"";
    const size_t around = sizeof before - 1 + 2;
    char path[1024];
    FILE *file;
    if (config.len <= around || config.len - around >= sizeof path ||
        memcmp(config.ptr, before, sizeof before - 1) != 0) {
        host->fail(host, keros_text("config: expected {\"path\":\"FILE\"}"));
        return KEROS_E_CONFIG;
    }
    memcpy(path, config.ptr + sizeof before - 1, (size_t)config.len - around);
    path[config.len - around] = 0;
    file = fopen(path, "w");
    if (file == NULL) {
        host->fail(host, keros_text("the file cannot be written"));
        return KEROS_E_IO;
    }
    out->events = KEROS_ALL_EVENTS;
    out->instance = file;
    out->on_event = on_event;
    out->destroy = destroy;
    return KEROS_OK;
}

const keros_plugin_module keros_plugin_v1 = {
    KEROS_MAGIC, sizeof(keros_plugin_module), KEROS_ABI_MAJOR, KEROS_ABI_MINOR, 0,
    "steer", "1.0.0", "", "", "", "", create, NULL
};
