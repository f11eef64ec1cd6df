/* keros.h - the C ABI of keros callback plugins, version 1.1. C99 and C++.
 *
 * A plugin is a dynamic library that exports one data symbol, `keros_plugin_v1`. The program that
 * trains (the host) loads it, creates instances of its callback and tells them what the training
 * does: train, epoch and batch begin and end. An instance reads the logs and answers with decisions:
 * stop, skip this batch, set the learning rate. This file is all a plugin needs.
 *
 * The life of an instance:
 *
 *     load the library -> check `keros_plugin_v1` -> create -> on_event ... on_event -> destroy
 *
 * The library is never unloaded. `create` that fails is not followed by `destroy`.
 *
 * THE PROMISE. KEROS_ABI_MAJOR changes when an old plugin could no longer work; the symbol's name
 * changes with it. Within a major, a plugin built for minor x loads in every host of minor y >= x,
 * and in an older host too if its `min_host_minor` allows. The version is that of this file, not of
 * keros.
 *
 * HOW STRUCTS GROW. A struct that begins with `struct_size` only ever gets new fields at its end.
 * Whoever provides the memory sets `struct_size` to the size it knows; whoever reads or writes a
 * field newer than 1.0 first checks KEROS_HAS. A struct without `struct_size` never changes. Fields
 * called `reserved` are zero. Enumerations get new values; a value that is not known is refused,
 * never guessed at.
 *
 * WHO OWNS WHAT. Memory is never handed over: neither side frees or keeps what the other allocated.
 * A pointer that is passed is borrowed for as long as its description says; if it says nothing, until
 * the call returns.
 *
 * NOTHING UNWINDS. No exception, panic or longjmp leaves a function of this file, on either side.
 *
 * THREADS. Every function has a tag:
 *   [serial]  Calls with one instance never overlap. They may come from different threads.
 *   [create]  Calls of one plugin's `create` never overlap. They may come from different threads.
 *   [event]   For the plugin, on the thread that is inside `on_event`, until that returns. From
 *             another thread the answer is KEROS_E_THREAD, at another time KEROS_E_STATE.
 *   [any]     From any thread, at any time between `create` and the return of `destroy`.
 * A plugin with threads of its own ends them, or keeps them off the host, before `destroy` returns.
 *
 * ERRORS. A function that can fail returns a keros_status. A plugin adds the details, for people to
 * read, with keros_host.fail before it returns the status.
 *
 * TRUST. A plugin is native code with all rights of the host. Load only what you would run.
 */
#ifndef KEROS_H
#define KEROS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if UINTPTR_MAX != 0xFFFFFFFFFFFFFFFF
#error "keros plugins need a 64-bit target"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version -------------------------------------------------------------------------------- */

/* keros_plugin_module.magic: "KEROSPL1" read as a big-endian number. */
#define KEROS_MAGIC UINT64_C(0x4B45524F53504C31)
/* keros_plugin_module.abi_major of plugins built with this file. */
#define KEROS_ABI_MAJOR 1
/* keros_plugin_module.abi_minor of plugins built with this file. */
#define KEROS_ABI_MINOR 1

/* Marks what the library exports. */
#if defined(_WIN32)
#define KEROS_EXPORT __declspec(dllexport)
#else
#define KEROS_EXPORT __attribute__((visibility("default")))
#endif

/* Whether `pointer`, to a struct with `struct_size`, has `field` of `type`. */
#define KEROS_HAS(pointer, type, field) \
    ((pointer)->struct_size >= offsetof(type, field) + sizeof(((type *)0)->field))

/* ---- Status --------------------------------------------------------------------------------- */

/* 0 is success, everything below is failure; no status is above. */
typedef int32_t keros_status;

enum {
    KEROS_OK = 0,
    KEROS_E_ARG = -1,         /* an argument is null, out of range or not UTF-8 */
    KEROS_E_UNSUPPORTED = -2, /* this side does not do that */
    KEROS_E_STATE = -3,       /* not now: see the thread tag */
    KEROS_E_NOT_FOUND = -4,   /* there is no such thing */
    KEROS_E_IO = -5,          /* a file or a connection failed */
    KEROS_E_CONFIG = -6,      /* the configuration is wrong */
    KEROS_E_THREAD = -7,      /* not on this thread: see the thread tag */
    KEROS_E_PANIC = -8,       /* a panic or an exception was caught; the instance gets no more events */
    KEROS_E_VERSION = -9,     /* the other side is too old */
    KEROS_E_OTHER = -100      /* anything else */
};

/* ---- Texts and values ----------------------------------------------------------------------- */

/* A text: `len` bytes of UTF-8 at `ptr`, without a zero at the end. `ptr` may be null if `len` is 0.
   Never changes. */
typedef struct keros_str {
    const char *ptr;
    uint64_t len;
} keros_str;

/* Longest text a host takes from a plugin, in bytes; a longer one is refused with KEROS_E_ARG. */
#define KEROS_TEXT_MAX 1048576

/* keros_value.kind */
enum {
    KEROS_F64 = 1,  /* as.f: a measurement; losses and metrics are of this kind, NaN is possible */
    KEROS_I64 = 2,  /* as.i: a count */
    KEROS_BOOL = 3, /* as.i: 0 or 1 */
    KEROS_TEXT = 4  /* as.s: a text */
};

/* A log value. Never changes; new kinds may come, so skip a kind you do not know. */
typedef struct keros_value {
    uint32_t kind;     /* KEROS_F64 ... */
    uint32_t reserved; /* 0 */
    union {
        double f;
        int64_t i;
        keros_str s;
    } as;
} keros_value;

/* A log: a name and its value. Grows; arrays of it say the distance of their items. */
typedef struct keros_log {
    keros_str key;
    keros_value value;
} keros_log;

/* The logs of an event, in order: the loss, the metrics as compiled, their `val_` values, then what
   callbacks added. Read items with keros_log_at. */
typedef struct keros_logs {
    uint32_t struct_size;   /* in: sizeof(keros_logs) */
    uint32_t stride;        /* out: bytes from one item to the next */
    const keros_log *items; /* out: null if `count` is 0 */
    uint64_t count;         /* out */
} keros_logs;

/* ---- The run -------------------------------------------------------------------------------- */

/* A count that is not known beforehand. */
#define KEROS_UNKNOWN UINT64_MAX

/* keros_run_info.flags */
enum {
    KEROS_RUN_VALIDATION = 1 /* `fit` was given validation data */
};

/* Facts that hold for a whole run. */
typedef struct keros_run_info {
    uint32_t struct_size;     /* in: sizeof(keros_run_info) */
    uint32_t flags;           /* out: KEROS_RUN_... bits; ignore others */
    uint64_t epochs;          /* out: index after the last epoch; 1 for a lone evaluation or prediction */
    uint64_t initial_epoch;   /* out: index of the first epoch */
    uint64_t steps;           /* out: batches per epoch, or KEROS_UNKNOWN */
    const keros_str *metrics; /* out: names of the loss and metrics in log order, without the `val_` ones;
                                 null if `metric_count` is 0 */
    uint64_t metric_count;    /* out */
} keros_run_info;

/* keros_host.message: how important it is. */
enum {
    KEROS_INFO = 0,    /* something a user may like to read */
    KEROS_WARNING = 1, /* something that is probably not what the user meant */
    KEROS_ERROR = 2    /* a failure that does not end the run */
};

/* The run, as an event shows it. Host memory, valid until `on_event` returns; do not copy it. */
typedef struct keros_run keros_run;
struct keros_run {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [event] Fills `out` with the facts of the run. The names are valid until `on_event` returns.
       KEROS_E_ARG: `out` is null or its struct_size is too small. */
    keros_status (*info)(const keros_run *run, keros_run_info *out);

    /* [event] Fills `out` with the logs of this event: none at begin events; running means since the
       start of the epoch at a batch end; the epoch's values at its end; the last epoch's at train end.
       They are computed when somebody first asks, which waits for the device: do not ask in vain.
       Items and texts are valid until the next set_log of this event or until `on_event` returns.
       KEROS_E_ARG: `out` is null or its struct_size is too small.
       KEROS_E_OTHER: computing them failed; return a failure too, the host knows the reason. */
    keros_status (*logs)(const keros_run *run, keros_logs *out);

    /* [event] Fills `out` with the log `key`; a text is valid as those of `logs`.
       KEROS_E_NOT_FOUND: there is none. KEROS_E_ARG: an argument is null or not UTF-8.
       KEROS_E_OTHER: as for `logs`. */
    keros_status (*log)(const keros_run *run, keros_str key, keros_value *out);

    /* [event] Sets the log `key` for the callbacks after this one and for the history; at epoch end,
       for the epoch's row. A key that is there keeps its place. Key and value are copied.
       KEROS_E_ARG: an argument is null, not UTF-8 or too long, the key is empty, the value's kind is not
       known, or a flag is neither 0 nor 1. KEROS_E_OTHER: as for `logs`. */
    keros_status (*set_log)(const keros_run *run, keros_str key, const keros_value *value);

    /* [event] Sets `out` to the learning rate of the next update. To change it, use the decision.
       KEROS_E_NOT_FOUND: there is none outside of training. KEROS_E_ARG: `out` is null. */
    keros_status (*learning_rate)(const keros_run *run, double *out);

    /* [event] Sets `out` to the nanoseconds this epoch, evaluation or prediction has waited for data
       so far. KEROS_E_ARG: `out` is null. */
    keros_status (*data_wait_ns)(const keros_run *run, uint64_t *out);
};

/* ---- Events --------------------------------------------------------------------------------- */

/* keros_event.kind. Inside `fit` the order is: train begin; per epoch: epoch begin, then per batch
   train batch begin and end, then, if validation is due, the test events, then epoch end; train end.
   A lone evaluation sends the test events, a prediction the predict events. Between a train batch's
   begin and end come after backward and, if an update is due with the batch, before step. A
   checkpoint saved follows the train batch end or epoch end at which it was asked for. A run that goes
   on from a checkpoint inside of an epoch has no epoch begin of that. */
enum {
    KEROS_TRAIN_BEGIN = 0,
    KEROS_TRAIN_END = 1,
    KEROS_EPOCH_BEGIN = 2,
    KEROS_EPOCH_END = 3,
    KEROS_TRAIN_BATCH_BEGIN = 4,
    KEROS_TRAIN_BATCH_END = 5,
    KEROS_TEST_BEGIN = 6,
    KEROS_TEST_END = 7,
    KEROS_TEST_BATCH_BEGIN = 8,
    KEROS_TEST_BATCH_END = 9,
    KEROS_PREDICT_BEGIN = 10,
    KEROS_PREDICT_END = 11,
    KEROS_PREDICT_BATCH_BEGIN = 12,
    KEROS_PREDICT_BATCH_END = 13,
    KEROS_AFTER_BACKWARD = 14,   /* gradients of a training batch are there, the weights still the old ones */
    KEROS_BEFORE_STEP = 15,      /* an update of the weights is due; gradients that overflowed make none */
    KEROS_CHECKPOINT_SAVED = 16, /* a checkpoint of the run has been written */
    KEROS_RUN_ERROR = 17         /* the run ends by an error; the last event of it */
    /* at most 63 */
};

/* The bit of an event in keros_callback.events. */
#define KEROS_BIT(kind) (UINT64_C(1) << (kind))
/* All events, also those of later versions: be ready for kinds you do not know. */
#define KEROS_ALL_EVENTS UINT64_MAX

/* keros_event.flags */
enum {
    KEROS_EVENT_NESTED = 1 /* a test event of the validation inside `fit` */
};

/* What has just happened. Host memory, valid until `on_event` returns. */
typedef struct keros_event {
    uint32_t struct_size; /* set by the host */
    uint32_t kind;        /* KEROS_TRAIN_BEGIN ... */
    uint64_t epoch;       /* zero-based; 0 for a lone evaluation or prediction */
    uint64_t batch;       /* zero-based, in the epoch, evaluation or prediction; 0 for other events */
    uint64_t step;        /* updates done so far in the life of the optimizer */
    uint64_t samples;     /* in the batch; 0 for other events */
    uint64_t flags;       /* KEROS_EVENT_... bits; ignore others */
    const keros_run *run; /* never null */
} keros_event;

/* ---- Decisions ------------------------------------------------------------------------------ */

/* keros_decision.actions. A bit the host does not know, or an action that is impossible at the event,
   is an error of the plugin. */
enum {
    KEROS_STOP = 1,             /* end the run, for `reason`: with the current batch, at train begin and
                                   epoch begin with the next one, otherwise with the current epoch; the
                                   epoch is still closed. Ends a lone evaluation or prediction too */
    KEROS_STOP_EPOCH = 2,       /* go on with the next epoch; only at train batch events */
    KEROS_SKIP_BATCH = 4,       /* do not train on this batch; only at train batch begin, where no train
                                   batch end follows, after backward and before step */
    KEROS_SET_LEARNING_RATE = 8 /* set it to `learning_rate`; only at train, epoch and train batch events */
};

/* What the plugin asks for. Host memory; all zero but struct_size when `on_event` is called, so doing
   nothing asks for nothing. Read by the host if `on_event` returns KEROS_OK. */
typedef struct keros_decision {
    uint32_t struct_size; /* set by the host */
    uint32_t actions;     /* KEROS_STOP ... bits */
    double learning_rate; /* with KEROS_SET_LEARNING_RATE: finite, not negative */
    keros_str reason;     /* with KEROS_STOP: plugin memory, valid until the next call with this instance */
} keros_decision;

/* ---- The host ------------------------------------------------------------------------------- */

/* The program that trains, as one instance sees it: each has its own. Host memory, valid from `create`
   until `destroy` returns; do not copy it. */
typedef struct keros_host keros_host;
struct keros_host {
    uint32_t struct_size; /* set by the host */
    uint32_t abi_minor;   /* KEROS_ABI_MINOR of the host */
    keros_str name;       /* such as "keros" */
    keros_str version;    /* such as "0.1.0" */

    /* [any] The extension called `id`, or null. What it points to is told by the extension's
       description, is host memory and is valid as long as this struct. */
    const void *(*extension)(const keros_host *host, keros_str id);

    /* [any] Says something to the user, where the host shows messages: inside `on_event`, when that
       returns; otherwise with the next event of this instance. The text is copied.
       KEROS_E_ARG: the level is not known, or the text is empty, not UTF-8 or too long.
       KEROS_E_STATE: too many messages wait already; this one is lost. */
    keros_status (*message)(const keros_host *host, uint32_t level, keros_str text);

    /* Inside `create`, `on_event` and the plugin's extensions that return a status, on their thread;
       ignored elsewhere. Tells people the reason of the failure this function is about to return. The
       text is copied; the last one counts. */
    void (*fail)(const keros_host *host, keros_str text);
};

/* ---- Host extensions ------------------------------------------------------------------------ */

/* An extension is known by its name and revision. Names that begin with `keros.` are in this file;
   others begin with a domain of their owner, as `org.example.thing/1`. Ask for one with
   keros_host.extension, best in `create`; a host that lacks it answers null, and the plugin does
   without it or refuses to be created with KEROS_E_VERSION.

   What a function of an extension reads or does fails with
     KEROS_E_ARG          an argument is null, too small, not UTF-8, too long or out of range;
     KEROS_E_UNSUPPORTED  this run does not offer it;
     KEROS_E_OTHER        the training could not do it; keros_facts.error tells why. If the plugin then
                          returns a failure too, the host adds that reason. */

/* Tells code that does not know where it runs, such as an assertion, whether [event] functions may be
   called now. */
#define KEROS_EXT_THREAD_CHECK "keros.thread-check/1"
typedef struct keros_thread_check {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */
    /* [any] 1 if the calling thread is inside `on_event` of this host's instance, else 0. */
    int32_t (*in_event)(const keros_host *host);
} keros_thread_check;

/* Since 1.1. How the run was set up, and what an event is about beside its numbers. */
#define KEROS_EXT_FACTS "keros.facts/1"
typedef struct keros_facts {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [event] Sets `out` to a JSON object: `version`, `device`, `seed`, `epochs`, `steps`, `metrics`,
       `optimizer` with its numbers, `inputs`, `outputs` with their losses, `parameters`, `network` in
       Keras's format or null; more may come. Valid until the next call or until `on_event` returns. */
    keros_status (*facts)(const keros_run *run, keros_str *out);

    /* [event] Sets `out` to the file at checkpoint saved, to the error at run error. Valid until
       `on_event` returns. KEROS_E_NOT_FOUND: the event is not about such a thing. */
    keros_status (*detail)(const keros_run *run, keros_str *out);

    /* [event] Sets `out` to the reason of the last KEROS_E_OTHER of this event, for people to read.
       Valid until the next function of the run fails or `on_event` returns.
       KEROS_E_NOT_FOUND: there was none. */
    keros_status (*error)(const keros_run *run, keros_str *out);
} keros_facts;

/* Since 1.1. The epochs that have ended in this run, those before a resumed checkpoint included. */
#define KEROS_EXT_HISTORY "keros.history/1"
typedef struct keros_history {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [event] Sets `out` to their number. */
    keros_status (*count)(const keros_run *run, uint64_t *out);

    /* [event] Sets `epoch` to the zero-based epoch of row `index`, below the count, and fills `logs`
       with its logs. Items and texts are valid until the next call or until `on_event` returns. */
    keros_status (*row)(const keros_run *run, uint64_t index, uint64_t *epoch, keros_logs *logs);
} keros_history;

/* Since 1.1. The numbers of the optimizer, by Keras's names. */
#define KEROS_EXT_OPTIMIZER "keros.optimizer/1"
typedef struct keros_optimizer {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [event] Fills `out` with the numbers, each of kind KEROS_F64: `learning_rate` first, then those
       its arguments switched on, such as `weight_decay`, `momentum`, `beta_1`. Items and texts are valid
       until the next call or until `on_event` returns. */
    keros_status (*numbers)(const keros_run *run, keros_logs *out);

    /* [event] Sets one of them for the updates to come, at once. The learning rate is better set by the
       decision, where the last of several callbacks wins.
       KEROS_E_OTHER: there is no such number, the value is out of its range, or the learning rate
       follows a schedule. */
    keros_status (*set_number)(const keros_run *run, keros_str name, double value);

    /* [event] Sets `out` to 1 if the learning rate follows a schedule, so that nobody can set it, else
       to 0. */
    keros_status (*is_scheduled)(const keros_run *run, int32_t *out);

    /* [event] Exchanges the parameters and the moving averages the optimizer keeps of them. Whoever
       calls it calls it again to have the parameters back.
       KEROS_E_OTHER: the optimizer keeps none. */
    keros_status (*swap_averages)(const keros_run *run);
} keros_optimizer;

/* A tensor, in the layout of DLTensor of DLPack 1: where dlpack.h is at hand, cast the pointer. Here
   always float32 (code 2, 32 bits, 1 lane) on the CPU (device type 1, id 0), row-major without gaps,
   with byte_offset 0. What is lent must not be written. Never changes. */
typedef struct keros_tensor {
    const void *data;
    int32_t device_type;
    int32_t device_id;
    int32_t ndim;
    uint8_t dtype_code;
    uint8_t dtype_bits;
    uint16_t dtype_lanes;
    const int64_t *shape;   /* `ndim` lengths; may be null if `ndim` is 0 */
    const int64_t *strides; /* `ndim` distances in elements; null from a plugin means row-major */
    uint64_t byte_offset;
} keros_tensor;

/* keros_array.flags */
enum {
    KEROS_ARRAY_TRAINABLE = 1 /* a parameter the optimizer may change */
};

/* A parameter, or an input of a batch. */
typedef struct keros_array {
    uint32_t struct_size; /* in: sizeof(keros_array) */
    uint32_t flags;       /* out: KEROS_ARRAY_... bits; ignore others */
    keros_str name;       /* out: such as "dense/kernel"; an input may have none */
    const int64_t *shape; /* out: `ndim` lengths, rows first for an input; null if `ndim` is 0 */
    uint64_t ndim;        /* out */
} keros_array;

/* Since 1.1. The parameters of the model, in its order, by index below the count. */
#define KEROS_EXT_PARAMETERS "keros.parameters/1"
typedef struct keros_parameters {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [event] Sets `out` to their number; 0 if this run does not tell. It does not change in a run. */
    keros_status (*count)(const keros_run *run, uint64_t *out);

    /* [event] Describes one. Name and shape are valid until `on_event` returns. */
    keros_status (*describe)(const keros_run *run, uint64_t index, keros_array *out);

    /* [event] Lends a copy of its values as they are now, which waits for the device: valid until the
       next call for the same parameter or until `on_event` returns. */
    keros_status (*value)(const keros_run *run, uint64_t index, keros_tensor *out);

    /* [event] The same of its gradient: that of the current batch after backward and before the step,
       otherwise of the batch before. */
    keros_status (*gradient)(const keros_run *run, uint64_t index, keros_tensor *out);

    /* [event] Sets its values to those of a tensor of its shape, which are copied. */
    keros_status (*assign)(const keros_run *run, uint64_t index, const keros_tensor *values);
} keros_parameters;

/* Since 1.1. The inputs of the current batch, by index below the count. */
#define KEROS_EXT_INPUTS "keros.inputs/1"
typedef struct keros_inputs {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [event] Sets `out` to their number; 0 outside of batch events. */
    keros_status (*count)(const keros_run *run, uint64_t *out);

    /* [event] Describes one. Name and shape are valid until `on_event` returns. */
    keros_status (*describe)(const keros_run *run, uint64_t index, keros_array *out);

    /* [event] Lends a copy of its values as the data source made them (bytes as 0 to 255): valid until
       the next call for the same input or until `on_event` returns. */
    keros_status (*value)(const keros_run *run, uint64_t index, keros_tensor *out);
} keros_inputs;

/* Since 1.1. Files of the model and of the run. A relative path is relative to the current directory;
   a file appears whole or not at all. */
#define KEROS_EXT_CHECKPOINT "keros.checkpoint/1"
typedef struct keros_checkpoint {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [event] Writes the parameters at once, as `.safetensors` or `.npz` by the ending of the path. */
    keros_status (*save_weights)(const keros_run *run, keros_str path);

    /* [event] Reads them; they are unchanged after a failure. */
    keros_status (*load_weights)(const keros_run *run, keros_str path);

    /* [event] Writes the parameters, the state of the optimizer and the configuration of the network at
       once, as `.safetensors`. */
    keros_status (*save_model)(const keros_run *run, keros_str path);

    /* [event] Has a checkpoint of the whole run written, as `.safetensors`, once every callback has had
       this event. It is part of the decision: only at train batch end and epoch end, and only if
       `on_event` returns KEROS_OK. May be called several times. */
    keros_status (*write)(const keros_run *run, keros_str path);

    /* [event] Has the run go on from a checkpoint of it instead of beginning at the first epoch. Part of
       the decision: only at train begin; of several the first counts. */
    keros_status (*resume)(const keros_run *run, keros_str path);
} keros_checkpoint;

/* The queue of prepared batches, in the current pass over the data. */
typedef struct keros_queue_stats {
    uint32_t struct_size;      /* in: sizeof(keros_queue_stats) */
    uint32_t reserved;         /* out: 0 */
    uint64_t ready;            /* out: batches that are ready */
    uint64_t capacity;         /* out: the most batches that are prepared ahead */
    uint64_t delivered;        /* out: batches delivered */
    uint64_t consumer_wait_ns; /* out: how long the training has waited for batches */
    uint64_t producer_wait_ns; /* out: how long workers have waited for room, summed over them */
} keros_queue_stats;

/* Since 1.1. Who waits for whom. */
#define KEROS_EXT_QUEUE "keros.queue/1"
typedef struct keros_queue {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [event] Fills `out`. KEROS_E_NOT_FOUND: batches are not prepared ahead. */
    keros_status (*stats)(const keros_run *run, keros_queue_stats *out);
} keros_queue;

/* Since 1.1. Requests to the run from threads of the plugin's own, such as one that serves a page with
   a stop button. The run looks at them after each batch, whoever wants its events. They can be made
   from the first event of a run to the instance until the run ends; at other times the answer is
   KEROS_E_STATE. */
#define KEROS_EXT_REQUESTS "keros.requests/1"
typedef struct keros_requests {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* [any] Asks the run to end, as KEROS_STOP would. The reason is copied; of several the first counts. */
    keros_status (*stop)(const keros_host *host, keros_str reason);

    /* [any] Asks for a checkpoint of the whole run, as keros_checkpoint.write would. The path is copied. */
    keros_status (*save)(const keros_host *host, keros_str path);
} keros_requests;

/* ---- The plugin ----------------------------------------------------------------------------- */

/* An instance of a callback. Host memory, all zero but struct_size when `create` is called. */
typedef struct keros_callback {
    uint32_t struct_size; /* set by the host; write no field beyond it */
    uint32_t reserved;    /* 0 */
    uint64_t events;      /* KEROS_BIT(...) of the events it wants; the others cost nothing */
    void *instance;           /* the plugin's own, passed to the functions; may be null */

    /* [serial] Something has happened. What is wanted is written to `decision`. On failure the host
       ends the run, or goes on, as its user chose. Required. */
    keros_status (*on_event)(void *instance, const keros_event *event, keros_decision *decision);

    /* [serial] Ends the instance; called exactly once, last. Required. */
    void (*destroy)(void *instance);

    /* [any] The plugin's extension called `id` for this instance, or null; plugin memory, valid until
       `destroy`. May be null: no extensions. */
    const void *(*extension)(void *instance, keros_str id);
} keros_callback;

/* What a plugin is. The texts are UTF-8 with at least one zero at the end, so that they can be read
   from the file without running any of it. Plugin memory, constant. */
typedef struct keros_plugin_module {
    uint64_t magic;          /* KEROS_MAGIC */
    uint32_t struct_size;    /* sizeof(keros_plugin_module) */
    uint32_t abi_major;      /* KEROS_ABI_MAJOR */
    uint32_t abi_minor;      /* KEROS_ABI_MINOR */
    uint32_t min_host_minor; /* the oldest KEROS_ABI_MINOR the plugin works with, at most abi_minor */

    char id[96];       /* lower-case letters, digits, `-`, `_` and `.`, such as "csv-logger"; required */
    char version[32];  /* of the plugin, such as "1.2.0"; required */
    char vendor[64];   /* who made it; may be empty, as the following */
    char license[32];  /* SPDX expression */
    char summary[160]; /* one sentence */
    char build[96];    /* how it was built, for bug reports */

    /* [create] Makes an instance and fills `out`. `host` may be kept until `destroy` returns. `config` is
       the user's JSON text, to be copied if kept; empty means `{}`. Required.
       KEROS_E_CONFIG: the configuration is wrong. KEROS_E_VERSION: the host is too old. */
    keros_status (*create)(const keros_host *host, keros_str config, keros_callback *out);

    /* [any], and before the first `create`. The plugin's extension called `id` that needs no instance, or
       null; plugin memory, valid for ever. May be null: no extensions. */
    const void *(*extension)(keros_str id);
} keros_plugin_module;

/* The one symbol: every plugin defines it. */
KEROS_EXPORT extern const keros_plugin_module keros_plugin_v1;

/* ---- Plugin extensions ---------------------------------------------------------------------- */

/* Of an instance: keros_callback.extension gives them. A host asks for them once, after `create`. */

/* Takes bytes. Host memory, valid until the call it was passed to returns. */
typedef struct keros_sink keros_sink;
struct keros_sink {
    uint32_t struct_size; /* set by the host */
    uint32_t reserved;    /* 0 */

    /* Inside the call the sink was passed to, on its thread: adds `len` bytes, which are copied.
       KEROS_E_ARG: null with a length, or more in all than KEROS_STATE_MAX. */
    keros_status (*write)(const keros_sink *sink, const void *bytes, uint64_t len);
};

/* Largest state of an instance, in bytes. */
#define KEROS_STATE_MAX 1073741824

/* Since 1.1. What an instance remembers between events, to be kept in checkpoints, so that a run that
   goes on from one is the undisturbed one. */
#define KEROS_EXT_STATE "keros.state/1"
typedef struct keros_state {
    uint32_t struct_size; /* set by the plugin */
    uint32_t reserved;    /* 0 */

    /* [serial] Writes everything it has gathered in this run, in a form of its own, when it has had the
       event at which the checkpoint is written. KEROS_E_NOT_FOUND: it remembers nothing. Another failure
       is one of the plugin; if that ends the run, no checkpoint is written. */
    keros_status (*save)(void *instance, const keros_sink *sink);

    /* [serial] Goes on from what `save` wrote, maybe in another process, maybe an older version of the
       plugin; after train begin. `bytes` may be null if `len` is 0. A failure is one of the plugin; if that
       ends the run, it does not begin. */
    keros_status (*load)(void *instance, const void *bytes, uint64_t len);
} keros_state;

/* Since 1.1. What callbacks and the trainer say to the user, this instance included. */
#define KEROS_EXT_MESSAGES "keros.messages/1"
typedef struct keros_messages {
    uint32_t struct_size; /* set by the plugin */
    uint32_t reserved;    /* 0 */

    /* [serial] A message of `source` at `level`, KEROS_INFO ...; ignore levels you do not know. The
       texts are valid until the call returns. */
    void (*message)(void *instance, uint32_t level, keros_str source, keros_str text);
} keros_messages;

/* Of the plugin: keros_plugin_module.extension gives them. */

/* Since 1.1. What its configuration may be, as a JSON Schema. */
#define KEROS_EXT_SCHEMA "keros.schema/1"
typedef struct keros_schema {
    uint32_t struct_size; /* set by the plugin */
    uint32_t reserved;    /* 0 */
    keros_str json;       /* valid for ever */
} keros_schema;

/* Since 1.1. Whether the plugin works where it is: its libraries, its devices, its own sums. */
#define KEROS_EXT_SELF_TEST "keros.self-test/1"
typedef struct keros_self_test {
    uint32_t struct_size; /* set by the plugin */
    uint32_t reserved;    /* 0 */

    /* [create] Tests what can be tested without a run; leaves nothing behind. What is wrong is told with
       keros_host.fail. */
    keros_status (*run)(const keros_host *host);
} keros_self_test;

/* ---- Conveniences --------------------------------------------------------------------------- */

/* The zero-ended text as a view. */
static inline keros_str keros_text(const char *text) {
    keros_str view;
    view.ptr = text;
    view.len = strlen(text);
    return view;
}

/* Whether the view holds just this zero-ended text: 1 or 0. */
static inline int keros_text_is(keros_str view, const char *text) {
    size_t len = strlen(text);
    return view.len == len && (len == 0 || memcmp(view.ptr, text, len) == 0);
}

/* The item at `index`, which is below `logs->count`. */
static inline const keros_log *keros_log_at(const keros_logs *logs, uint64_t index) {
    return (const keros_log *)(const void *)((const char *)logs->items + index * logs->stride);
}

#ifdef __cplusplus
}
#endif

#endif /* KEROS_H */
