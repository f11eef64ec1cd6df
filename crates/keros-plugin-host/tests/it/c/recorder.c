/* A good plugin in C: writes down every event with all it can learn of the run, and steers a little.
   Its configuration is the path of the file to write, as a JSON string without escapes. */
#include "keros.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    const keros_host *host;
    FILE *file;
} recorder;

static void write_value(FILE *file, const keros_value *value) {
    switch (value->kind) {
    case KEROS_F64:
        fprintf(file, "%.6f", value->as.f);
        break;
    case KEROS_I64:
        fprintf(file, "%" PRId64, value->as.i);
        break;
    case KEROS_BOOL:
        fputs(value->as.i ? "true" : "false", file);
        break;
    case KEROS_TEXT:
        fwrite(value->as.s.ptr, 1, (size_t)value->as.s.len, file);
        break;
    default:
        fputs("?", file);
    }
}

static keros_status on_event(void *instance, const keros_event *event, keros_decision *decision) {
    recorder *self = instance;
    const keros_run *run = event->run;
    keros_run_info info;
    keros_logs logs;
    double rate = 0.0;
    uint64_t wait_ns = 0;
    uint64_t i;
    keros_status status;

    fprintf(self->file, "%" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, event->kind,
            event->epoch, event->batch, event->step, event->samples, event->flags);

    info.struct_size = sizeof info;
    status = run->info(run, &info);
    if (status != KEROS_OK)
        return status;
    fprintf(self->file, " | %" PRIu64 " %" PRIu64, info.epochs, info.initial_epoch);
    if (info.steps == KEROS_UNKNOWN)
        fputs(" ?", self->file);
    else
        fprintf(self->file, " %" PRIu64, info.steps);
    fprintf(self->file, " %d", (info.flags & KEROS_RUN_VALIDATION) != 0);
    for (i = 0; i < info.metric_count; i++)
        fprintf(self->file, " %.*s", (int)info.metrics[i].len, info.metrics[i].ptr);

    status = run->learning_rate(run, &rate);
    if (status == KEROS_OK)
        fprintf(self->file, " | %.6f", rate);
    else if (status == KEROS_E_NOT_FOUND)
        fputs(" | none", self->file);
    else
        return status;
    status = run->data_wait_ns(run, &wait_ns);
    if (status != KEROS_OK)
        return status;
    fprintf(self->file, " %" PRIu64 " |", wait_ns);

    logs.struct_size = sizeof logs;
    status = run->logs(run, &logs);
    if (status != KEROS_OK)
        return status;
    for (i = 0; i < logs.count; i++) {
        const keros_log *log = keros_log_at(&logs, i);
        fprintf(self->file, " %.*s=", (int)log->key.len, log->key.ptr);
        write_value(self->file, &log->value);
    }
    fputs("\n", self->file);

    if (event->kind == KEROS_TRAIN_BEGIN)
        self->host->message(self->host, KEROS_INFO, keros_text("recording in C"));
    if (event->kind == KEROS_EPOCH_BEGIN) {
        decision->actions |= KEROS_SET_LEARNING_RATE;
        decision->learning_rate = 0.5 / (double)(event->epoch + 1);
    }
    if (event->kind == KEROS_TRAIN_BATCH_BEGIN && event->epoch == 0 && event->batch == 1)
        decision->actions |= KEROS_SKIP_BATCH;
    if (event->kind == KEROS_TRAIN_BATCH_END && event->epoch == 1 && event->batch == 1)
        decision->actions |= KEROS_STOP_EPOCH;
    if (event->kind == KEROS_EPOCH_END) {
        keros_value loss;
        keros_value half;
        if (run->log(run, keros_text("loss"), &loss) != KEROS_OK || loss.kind != KEROS_F64)
            return KEROS_E_NOT_FOUND;
        half.kind = KEROS_F64;
        half.reserved = 0;
        half.as.f = loss.as.f / 2;
        status = run->set_log(run, keros_text("half_loss"), &half);
        if (status != KEROS_OK)
            return status;
        if (event->epoch == 2) {
            decision->actions |= KEROS_STOP;
            decision->reason = keros_text("C has seen enough");
        }
    }
    return KEROS_OK;
}

static void destroy(void *instance) {
    recorder *self = instance;
    fclose(self->file);
    free(self);
}

static keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    char path[1024];
    recorder *self;
    if (config.len < 3 || config.len - 2 >= sizeof path) {
        host->fail(host, keros_text("config: expected the path of a file"));
        return KEROS_E_CONFIG;
    }
    memcpy(path, config.ptr + 1, (size_t)config.len - 2);
    path[config.len - 2] = 0;
    self = malloc(sizeof *self);
    if (self == NULL)
        return KEROS_E_OTHER;
    self->host = host;
    self->file = fopen(path, "w");
    if (self->file == NULL) {
        free(self);
        host->fail(host, keros_text("the file cannot be written"));
        return KEROS_E_IO;
    }
    out->events = KEROS_ALL_EVENTS;
    out->instance = self;
    out->on_event = on_event;
    out->destroy = destroy;
    return KEROS_OK;
}

const keros_plugin_module keros_plugin_v1 = {
    KEROS_MAGIC, sizeof(keros_plugin_module), KEROS_ABI_MAJOR, KEROS_ABI_MINOR, 0,
    "recorder", "1.0.0", "keros", "MIT", "Writes down what it sees.", "C99",
    create, NULL
};
