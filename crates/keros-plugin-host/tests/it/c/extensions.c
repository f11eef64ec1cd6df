/* Calls every host extension as C does, and answers with a failure that names the first wrong thing. */
#include "keros.h"
#include <math.h>
#include <stdlib.h>

static const keros_host *host_of_all;

#define TABLE(type, name) ((const type *)host_of_all->extension(host_of_all, keros_text(name)))
#define EXPECT(condition)                                                                              \
    do {                                                                                               \
        if (!(condition)) {                                                                            \
            host_of_all->fail(host_of_all, keros_text(#condition));                                    \
            return KEROS_E_OTHER;                                                                      \
        }                                                                                              \
    } while (0)

static keros_status parameters(const keros_run *run) {
    const keros_parameters *table = TABLE(keros_parameters, KEROS_EXT_PARAMETERS);
    keros_array array;
    keros_tensor value, gradient, scalar;
    uint64_t count = 0;
    int64_t shape[2] = {2, 3};
    int64_t transposed[2] = {1, 2};
    float six[6] = {6, 5, 4, 3, 2, 1};

    EXPECT(table && KEROS_HAS(table, keros_parameters, assign));
    EXPECT(table->count(run, &count) == KEROS_OK && count == 3);
    EXPECT(table->count(run, NULL) == KEROS_E_ARG);
    array.struct_size = sizeof array;
    EXPECT(table->describe(run, 0, &array) == KEROS_OK);
    EXPECT(keros_text_is(array.name, "dense/kernel") && array.flags == KEROS_ARRAY_TRAINABLE);
    EXPECT(array.ndim == 2 && array.shape[0] == 2 && array.shape[1] == 3);
    EXPECT(table->describe(run, 3, &array) == KEROS_E_ARG);
    array.struct_size = 8;
    EXPECT(table->describe(run, 0, &array) == KEROS_E_ARG);

    /* What is lent stays while more is lent. */
    EXPECT(table->value(run, 0, &value) == KEROS_OK);
    EXPECT(table->gradient(run, 0, &gradient) == KEROS_OK);
    EXPECT(table->value(run, 1, &scalar) == KEROS_OK);
    EXPECT(((const float *)value.data)[4] == 5.0f && ((const float *)gradient.data)[4] == -5.0f);
    EXPECT(isnan(((const float *)value.data)[5]));
    EXPECT(scalar.ndim == 0 && ((const float *)scalar.data)[0] == 0.5f);
    EXPECT(value.device_type == 1 && value.dtype_code == 2 && value.dtype_bits == 32);
    EXPECT(value.ndim == 2 && value.shape[1] == 3 && value.strides[0] == 3 && value.strides[1] == 1);
    EXPECT(value.byte_offset == 0 && value.dtype_lanes == 1);
    EXPECT(table->value(run, 0, NULL) == KEROS_E_ARG);
    EXPECT(table->value(run, UINT64_MAX, &value) == KEROS_E_ARG);

    value.data = six;
    value.shape = shape;
    value.strides = NULL;
    EXPECT(table->assign(run, 0, &value) == KEROS_OK);
    value.strides = transposed;
    EXPECT(table->assign(run, 0, &value) == KEROS_E_ARG);
    value.strides = NULL;
    shape[1] = 4;
    EXPECT(table->assign(run, 0, &value) == KEROS_E_ARG);
    shape[1] = 3;
    value.dtype_bits = 64;
    EXPECT(table->assign(run, 0, &value) == KEROS_E_ARG);
    value.dtype_bits = 32;
    value.data = NULL;
    EXPECT(table->assign(run, 0, &value) == KEROS_E_ARG);
    EXPECT(table->assign(run, 0, NULL) == KEROS_E_ARG);
    return KEROS_OK;
}

static keros_status rest(const keros_run *run) {
    const keros_facts *facts = TABLE(keros_facts, KEROS_EXT_FACTS);
    const keros_history *history = TABLE(keros_history, KEROS_EXT_HISTORY);
    const keros_optimizer *optimizer = TABLE(keros_optimizer, KEROS_EXT_OPTIMIZER);
    const keros_inputs *inputs = TABLE(keros_inputs, KEROS_EXT_INPUTS);
    const keros_checkpoint *checkpoint = TABLE(keros_checkpoint, KEROS_EXT_CHECKPOINT);
    const keros_queue *queue = TABLE(keros_queue, KEROS_EXT_QUEUE);
    const keros_requests *requests = TABLE(keros_requests, KEROS_EXT_REQUESTS);
    keros_str text;
    keros_logs logs;
    keros_queue_stats stats;
    keros_tensor tensor;
    keros_array array;
    uint64_t number = 0, epoch = 0;
    int32_t flag = 0;
    double rate = 0.0;

    EXPECT(facts && history && optimizer && inputs && checkpoint && queue && requests);
    EXPECT(facts->error(run, &text) == KEROS_E_NOT_FOUND);
    EXPECT(facts->facts(run, &text) == KEROS_OK && text.len > 2 && text.ptr[0] == '{');
    EXPECT(facts->detail(run, &text) == KEROS_OK && keros_text_is(text, "run/epoch-3.safetensors"));

    logs.struct_size = sizeof logs;
    EXPECT(history->count(run, &number) == KEROS_OK && number == 2);
    EXPECT(history->row(run, 1, &epoch, &logs) == KEROS_OK && epoch == 3 && logs.count == 2);
    EXPECT(keros_text_is(keros_log_at(&logs, 0)->key, "loss"));
    EXPECT(keros_log_at(&logs, 0)->value.as.f == 0.5);
    EXPECT(history->row(run, 2, &epoch, &logs) == KEROS_E_ARG);
    EXPECT(history->row(run, 0, NULL, &logs) == KEROS_E_ARG);

    EXPECT(optimizer->numbers(run, &logs) == KEROS_OK && logs.count == 2);
    EXPECT(keros_text_is(keros_log_at(&logs, 1)->key, "beta_1"));
    EXPECT(optimizer->set_number(run, keros_text("beta_1"), 0.5) == KEROS_OK);
    EXPECT(optimizer->set_number(run, keros_text("learning_rate"), 0.125) == KEROS_OK);
    EXPECT(run->learning_rate(run, &rate) == KEROS_OK && rate == 0.125);
    EXPECT(optimizer->is_scheduled(run, &flag) == KEROS_OK && flag == 1);
    EXPECT(optimizer->is_scheduled(run, NULL) == KEROS_E_ARG);
    EXPECT(optimizer->swap_averages(run) == KEROS_OK);

    array.struct_size = sizeof array;
    EXPECT(inputs->count(run, &number) == KEROS_OK && number == 1);
    EXPECT(inputs->describe(run, 0, &array) == KEROS_OK && array.ndim == 4 && array.flags == 0);
    EXPECT(inputs->value(run, 0, &tensor) == KEROS_OK && ((const float *)tensor.data)[2] == 255.0f);
    EXPECT(inputs->value(run, 1, &tensor) == KEROS_E_ARG);

    EXPECT(checkpoint->save_weights(run, keros_text("w.npz")) == KEROS_OK);
    EXPECT(checkpoint->save_weights(run, keros_text("")) == KEROS_E_ARG);
    EXPECT(checkpoint->save_model(run, keros_text("\xff")) == KEROS_E_ARG);
    EXPECT(checkpoint->load_weights(run, keros_text("other.npz")) == KEROS_E_OTHER);
    EXPECT(facts->error(run, &text) == KEROS_OK);
    EXPECT(keros_text_is(text, "other.npz is of another network"));
    EXPECT(checkpoint->write(run, keros_text("one.safetensors")) == KEROS_OK);

    stats.struct_size = sizeof stats;
    EXPECT(queue->stats(run, &stats) == KEROS_OK && stats.ready == 3 && stats.capacity == 10);
    EXPECT(stats.delivered == 7 && stats.consumer_wait_ns == 1500000001u);
    stats.struct_size = 4;
    EXPECT(queue->stats(run, &stats) == KEROS_E_ARG);

    EXPECT(requests->stop(host_of_all, keros_text("the button")) == KEROS_OK);
    EXPECT(requests->save(host_of_all, keros_text("asked.safetensors")) == KEROS_OK);
    EXPECT(requests->save(host_of_all, keros_text("")) == KEROS_E_ARG);
    return KEROS_OK;
}

/* Functions that are called outside of an event answer so. */
static keros_status outside(const keros_run *run) {
    const keros_parameters *table = TABLE(keros_parameters, KEROS_EXT_PARAMETERS);
    uint64_t count;
    return table->count(run, &count);
}

static const keros_run *run_of_last_event;

static keros_status on_event(void *instance, const keros_event *event, keros_decision *decision) {
    keros_status status = parameters(event->run);
    (void)instance;
    (void)decision;
    run_of_last_event = event->run;
    return status == KEROS_OK ? rest(event->run) : status;
}

static keros_status save(void *instance, const keros_sink *sink) {
    (void)instance;
    EXPECT(outside(run_of_last_event) == KEROS_E_STATE);
    EXPECT(sink->write(sink, "ab", 2) == KEROS_OK);
    EXPECT(sink->write(sink, NULL, 1) == KEROS_E_ARG);
    EXPECT(sink->write(sink, NULL, 0) == KEROS_OK);
    return sink->write(sink, "c", 1);
}

static keros_status load(void *instance, const void *bytes, uint64_t len) {
    (void)instance;
    EXPECT(len == 3 && memcmp(bytes, "abc", 3) == 0);
    return KEROS_OK;
}

static const void *instance_extension(void *instance, keros_str id) {
    static const keros_state state = {sizeof(keros_state), 0, save, load};
    (void)instance;
    return keros_text_is(id, KEROS_EXT_STATE) ? &state : NULL;
}

static void destroy(void *instance) { (void)instance; }

static keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    (void)config;
    host_of_all = host;
    EXPECT(TABLE(keros_parameters, "keros.parameters/2") == NULL);
    /* No run has begun. */
    EXPECT(TABLE(keros_requests, KEROS_EXT_REQUESTS)->stop(host, keros_text("early")) == KEROS_E_STATE);
    out->events = KEROS_ALL_EVENTS;
    out->on_event = on_event;
    out->destroy = destroy;
    out->extension = instance_extension;
    return KEROS_OK;
}

const keros_plugin_module keros_plugin_v1 = {
    KEROS_MAGIC, sizeof(keros_plugin_module), KEROS_ABI_MAJOR, KEROS_ABI_MINOR, 1,
    "extensions", "1.0.0", "", "", "", "", create, 0
};
