/* grad-watch: the norms of gradients and weights, as logs and as a CSV file, and a stop when gradients
   explode. A keros plugin in C99; README.md tells what it does and how to build it. */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200112L /* for ftruncate */
#endif
#include "keros.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef _WIN32
#include <io.h>
#define cut_file(file, size) _chsize(_fileno(file), size)
#else
#include <unistd.h>
#define cut_file(file, size) ftruncate(fileno(file), size)
#endif

/* Longest sentence for people, with what it quotes. */
#define TEXT_MAX 512

/* ---- Configuration --------------------------------------------------------------------------- */

typedef struct {
    double max_norm;   /* of all gradients together; above it, they have exploded */
    uint64_t every;    /* measure every so many batches */
    int stop;          /* stop the run when gradients explode, or only warn */
    int per_parameter; /* set logs for each parameter, too */
    char *csv;         /* path of the file to write, or null */
    int append;        /* add to the file, instead of creating it anew */
} settings;

/* What is left to read of the configuration, and what is wrong with it. */
typedef struct {
    const char *at;
    const char *end;
    char error[TEXT_MAX];
} reader;

static void format(char *text, size_t size, const char *pattern, ...) {
    va_list values;
    va_start(values, pattern);
    vsnprintf(text, size, pattern, values);
    va_end(values);
}

static void skip_space(reader *json) {
    while (json->at != json->end && strchr(" \t\n\r", *json->at) != NULL && *json->at != '\0')
        json->at++;
}

/* Takes this character, and the space after it, if it is the next one. */
static int accept(reader *json, char wanted) {
    if (json->at == json->end || *json->at != wanted)
        return 0;
    json->at++;
    skip_space(json);
    return 1;
}

static int accept_word(reader *json, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(json->end - json->at) < len || memcmp(json->at, word, len) != 0)
        return 0;
    json->at += len;
    skip_space(json);
    return 1;
}

/* Reads four hexadecimal digits; -1 if there are none. */
static long read_hex4(reader *json) {
    long code = 0;
    int i;
    for (i = 0; i < 4; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *digit = NULL;
        if (json->at != json->end && *json->at != '\0')
            digit = strchr(digits, *json->at);
        if (digit == NULL)
            return -1;
        code = code * 16 + (digit - digits) % 16;
        json->at++;
    }
    return code;
}

/* Reads the code after `\u`, with a second one if it is half a character; -1 if it is none. */
static long read_unicode(reader *json) {
    long code = read_hex4(json);
    if (code >= 0xD800 && code < 0xDC00) {
        long low;
        if (json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != 'u')
            return -1;
        json->at += 2;
        low = read_hex4(json);
        if (low < 0xDC00 || low > 0xDFFF)
            return -1;
        return 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00);
    }
    return code >= 0xDC00 && code <= 0xDFFF ? -1 : code;
}

static size_t write_utf8(char *out, long code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | (code >> 6));
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | (code >> 12));
        out[1] = (char)(0x80 | ((code >> 6) & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | (code >> 18));
    out[1] = (char)(0x80 | ((code >> 12) & 0x3F));
    out[2] = (char)(0x80 | ((code >> 6) & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* Reads a text; the caller frees it. Null if it is none, or memory is out. */
static char *read_text(reader *json) {
    char *text;
    size_t len = 0;
    int good = 1;
    if (json->at == json->end || *json->at != '"')
        return NULL;
    json->at++;
    /* No escape is shorter than what it stands for. */
    text = malloc((size_t)(json->end - json->at) + 1);
    if (text == NULL)
        return NULL;
    while (good && json->at != json->end && *json->at != '"') {
        char next = *json->at++;
        good = (unsigned char)next >= 0x20;
        if (next == '\\') {
            static const char names[] = "\"\\/bfnrt";
            static const char values[] = "\"\\/\b\f\n\r\t";
            const char *name = NULL;
            next = json->at == json->end ? '\0' : *json->at++;
            if (next == 'u') {
                long code = read_unicode(json);
                good = code > 0;
                if (good)
                    len += write_utf8(text + len, code);
                continue;
            }
            if (next != '\0')
                name = strchr(names, next);
            good = name != NULL;
            if (good)
                next = values[name - names];
        }
        text[len++] = next;
    }
    text[len] = '\0';
    if (!good || !accept(json, '"')) {
        free(text);
        return NULL;
    }
    return text;
}

/* Reads a number, whatever the host's language is. Returns 1 if it is one, below infinity. */
static int read_number(reader *json, double *out) {
    double value = 0.0;
    double sign = 1.0;
    long exponent = 0;
    int digits = 0;
    if (json->at != json->end && *json->at == '-') {
        sign = -1.0;
        json->at++;
    }
    for (; json->at != json->end && *json->at >= '0' && *json->at <= '9'; json->at++, digits++)
        value = value * 10.0 + (*json->at - '0');
    if (json->at != json->end && *json->at == '.') {
        for (json->at++; json->at != json->end && *json->at >= '0' && *json->at <= '9'; json->at++, digits++) {
            value = value * 10.0 + (*json->at - '0');
            exponent--;
        }
    }
    if (digits == 0)
        return 0;
    if (json->at != json->end && (*json->at == 'e' || *json->at == 'E')) {
        long power = 0;
        int negative = 0;
        json->at++;
        if (json->at != json->end && (*json->at == '+' || *json->at == '-'))
            negative = *json->at++ == '-';
        if (json->at == json->end || *json->at < '0' || *json->at > '9')
            return 0;
        for (; json->at != json->end && *json->at >= '0' && *json->at <= '9'; json->at++) {
            if (power < 10000)
                power = power * 10 + (*json->at - '0');
        }
        exponent += negative ? -power : power;
    }
    skip_space(json);
    *out = sign * value * pow(10.0, (double)exponent);
    return *out <= DBL_MAX && *out >= -DBL_MAX;
}

static int read_flag(reader *json, int *out) {
    if (accept_word(json, "true"))
        *out = 1;
    else if (accept_word(json, "false"))
        *out = 0;
    else
        return 0;
    return 1;
}

/* Reads the value of one field. Returns 1, or 0 with the error told. */
static int read_field(reader *json, const char *name, settings *out) {
    const char *expected;
    double number = 0.0;
    if (strcmp(name, "max_norm") == 0) {
        if (read_number(json, &number) && number > 0.0) {
            out->max_norm = number;
            return 1;
        }
        expected = "expected a number above 0";
    } else if (strcmp(name, "every") == 0) {
        if (read_number(json, &number) && number >= 1.0 && number <= 1e9 && floor(number) == number) {
            out->every = (uint64_t)number;
            return 1;
        }
        expected = "expected a whole number from 1 to 1000000000";
    } else if (strcmp(name, "stop") == 0) {
        if (read_flag(json, &out->stop))
            return 1;
        expected = "expected true or false";
    } else if (strcmp(name, "per_parameter") == 0) {
        if (read_flag(json, &out->per_parameter))
            return 1;
        expected = "expected true or false";
    } else if (strcmp(name, "append") == 0) {
        if (read_flag(json, &out->append))
            return 1;
        expected = "expected true or false";
    } else if (strcmp(name, "csv") == 0) {
        free(out->csv);
        out->csv = read_text(json);
        if (out->csv != NULL && out->csv[0] != '\0')
            return 1;
        expected = "expected the path of a file as a text";
    } else {
        expected = "unknown field, expected one of `max_norm`, `every`, `stop`, `per_parameter`, `csv`, "
                   "`append`";
    }
    format(json->error, sizeof json->error, "config field `%.64s`: %s", name, expected);
    return 0;
}

/* Reads a flat JSON object; no text stands for `{}`. Returns 1, or 0 with the error told. */
static int read_settings(reader *json, settings *out) {
    skip_space(json);
    if (json->at == json->end)
        return 1;
    format(json->error, sizeof json->error, "config: expected an object");
    if (!accept(json, '{'))
        return 0;
    if (!accept(json, '}')) {
        do {
            char *name = read_text(json);
            int good;
            format(json->error, sizeof json->error, "config: expected the name of a field, and `:` after it");
            good = name != NULL && accept(json, ':') && read_field(json, name, out);
            free(name);
            if (!good)
                return 0;
        } while (accept(json, ','));
        format(json->error, sizeof json->error, "config: expected `,` or `}` after a field");
        if (!accept(json, '}'))
            return 0;
    }
    format(json->error, sizeof json->error, "config: expected nothing after the object");
    return json->at == json->end;
}

/* ---- Norms ------------------------------------------------------------------------------------ */

/* What is known of one parameter, or of all of them together. */
typedef struct {
    char *name;
    char *weight_key; /* of its logs */
    char *grad_key;
    double weight; /* norms of the last batch that was measured */
    double grad;
    double grad_sum; /* of the batches of this epoch that did not overflow */
    int trainable;
} norms;

typedef struct {
    const keros_host *host;
    const keros_parameters *parameters;
    const keros_optimizer *optimizer; /* null if the host has no such thing */
    settings config;
    FILE *csv;
    norms all;
    norms *each;
    uint64_t count;
    uint64_t measured; /* batches of this epoch that did not overflow */
    int fresh;         /* the batch at hand is measured, its logs are not yet set */
    int warned;        /* in this epoch */
    char reason[TEXT_MAX]; /* why to stop; empty if there is no reason */
} watch;

static keros_status fail(const watch *self, keros_status status, const char *text) {
    self->host->fail(self->host, keros_text(text));
    return status;
}

static int is_finite(double value) {
    return value <= DBL_MAX && value >= -DBL_MAX;
}

/* The sum of the squares; NaN or infinite if a value is. Four sums side by side are faster than one. */
static double sum_of_squares(const keros_tensor *tensor) {
    const float *values = tensor->data;
    double sums[4] = {0.0, 0.0, 0.0, 0.0};
    uint64_t len = 1;
    uint64_t i;
    int axis;
    for (axis = 0; axis < tensor->ndim; axis++)
        len *= (uint64_t)tensor->shape[axis];
    for (i = 0; i + 4 <= len; i += 4) {
        sums[0] += (double)values[i] * values[i];
        sums[1] += (double)values[i + 1] * values[i + 1];
        sums[2] += (double)values[i + 2] * values[i + 2];
        sums[3] += (double)values[i + 3] * values[i + 3];
    }
    for (; i < len; i++)
        sums[0] += (double)values[i] * values[i];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static char *joined(const char *prefix, const char *text, size_t len) {
    size_t before = strlen(prefix);
    char *result = malloc(before + len + 1);
    if (result != NULL) {
        memcpy(result, prefix, before);
        if (len > 0)
            memcpy(result + before, text, len);
        result[before + len] = '\0';
    }
    return result;
}

static int name_norms(norms *out, keros_str name, const char *separator) {
    char key[32];
    out->name = joined("", name.ptr, (size_t)name.len);
    format(key, sizeof key, "weight_norm%s", separator);
    out->weight_key = joined(key, name.ptr, separator[0] == '\0' ? 0 : (size_t)name.len);
    format(key, sizeof key, "grad_norm%s", separator);
    out->grad_key = joined(key, name.ptr, separator[0] == '\0' ? 0 : (size_t)name.len);
    return out->name != NULL && out->weight_key != NULL && out->grad_key != NULL;
}

static void free_norms(norms *norms) {
    free(norms->name);
    free(norms->weight_key);
    free(norms->grad_key);
    memset(norms, 0, sizeof *norms);
}

/* Ends what belongs to one training. Returns whether the file, if there is one, is whole. */
static int end_training(watch *self) {
    uint64_t i;
    int whole = 1;
    if (self->csv != NULL)
        whole = fclose(self->csv) == 0;
    self->csv = NULL;
    for (i = 0; i < self->count; i++)
        free_norms(&self->each[i]);
    free(self->each);
    self->each = NULL;
    self->count = 0;
    free_norms(&self->all);
    return whole;
}

/* ---- The CSV file ----------------------------------------------------------------------------- */

static keros_status fail_csv(const watch *self, const char *doing) {
    char text[TEXT_MAX];
    format(text, sizeof text, "%s %.400s: it cannot be written", doing, self->config.csv);
    return fail(self, KEROS_E_IO, text);
}

static keros_status open_csv(watch *self) {
    const char *mode = self->config.append ? "a+" : "w";
    long size;
    if (self->config.csv == NULL)
        return KEROS_OK;
    self->csv = fopen(self->config.csv, mode);
    if (self->csv == NULL || fseek(self->csv, 0, SEEK_END) != 0)
        return fail_csv(self, "opening");
    size = ftell(self->csv);
    /* A run that died may have left half a row; ours shall not continue it. */
    if (size > 0 && fseek(self->csv, -1, SEEK_END) == 0) {
        int last = fgetc(self->csv);
        fseek(self->csv, 0, SEEK_END);
        if (last != '\n')
            fputc('\n', self->csv);
    }
    if (size == 0)
        fputs("epoch,batch,step,parameter,weight_norm,grad_norm\n", self->csv);
    return fflush(self->csv) == 0 ? KEROS_OK : fail_csv(self, "writing");
}

/* Length of the file after the last row, all of which are on their way to the disk then; 0 without a file. */
static double end_of_csv(const watch *self) {
    long size = -1;
    if (self->csv == NULL)
        return 0.0;
    if (fflush(self->csv) == 0 && fseek(self->csv, 0, SEEK_END) == 0)
        size = ftell(self->csv);
    return (double)size;
}

/* Takes away the rows after a checkpoint, which come again. */
static keros_status cut_csv(watch *self, double end) {
    /* The run of the checkpoint may have had no file. */
    if (end <= 0.0 || end >= end_of_csv(self))
        return KEROS_OK;
    if (cut_file(self->csv, (long)end) != 0 || fseek(self->csv, 0, SEEK_END) != 0)
        return fail_csv(self, "cutting");
    return KEROS_OK;
}

/* Writes a number as every reader of CSV expects it, whatever the host's language is. */
static void write_number(FILE *file, double value) {
    char text[40];
    char *comma;
    if (!is_finite(value)) {
        fputs(value > 0.0 ? "inf" : value < 0.0 ? "-inf" : "nan", file);
        return;
    }
    format(text, sizeof text, "%.9g", value);
    comma = strchr(text, ',');
    if (comma != NULL)
        *comma = '.';
    fputs(text, file);
}

static void write_row(FILE *file, const keros_event *event, const norms *norms) {
    const char *letter;
    int quote = strpbrk(norms->name, ",\"\r\n") != NULL;
    fprintf(file, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%s", event->epoch, event->batch, event->step, quote ? "\"" : "");
    for (letter = norms->name; *letter != '\0'; letter++) {
        if (*letter == '"')
            fputc('"', file);
        fputc(*letter, file);
    }
    fputs(quote ? "\"," : ",", file);
    write_number(file, norms->weight);
    fputc(',', file);
    if (norms->trainable)
        write_number(file, norms->grad);
    fputc('\n', file);
}

/* ---- Events ----------------------------------------------------------------------------------- */

static keros_status prepare_training(watch *self, const keros_event *event) {
    const keros_parameters *parameters = self->parameters;
    uint64_t i;
    keros_status status;
    self->measured = 0;
    self->fresh = 0;
    self->warned = 0;
    self->reason[0] = '\0';
    status = parameters->count(event->run, &self->count);
    if (status != KEROS_OK) {
        self->count = 0;
        return fail(self, status, "asking for the number of parameters");
    }
    if (self->count == 0)
        return fail(self, KEROS_E_UNSUPPORTED, "this run does not show its parameters");
    self->each = calloc((size_t)self->count, sizeof *self->each);
    if (self->each == NULL || !name_norms(&self->all, keros_text("all"), "")) {
        if (self->each == NULL)
            self->count = 0;
        return fail(self, KEROS_E_OTHER, "out of memory");
    }
    self->all.trainable = 1;
    for (i = 0; i < self->count; i++) {
        keros_array array;
        memset(&array, 0, sizeof array);
        array.struct_size = sizeof array;
        status = parameters->describe(event->run, i, &array);
        if (status != KEROS_OK)
            return fail(self, status, "asking for the name of a parameter");
        if (!name_norms(&self->each[i], array.name, "/"))
            return fail(self, KEROS_E_OTHER, "out of memory");
        self->each[i].trainable = (array.flags & KEROS_ARRAY_TRAINABLE) != 0;
    }
    return open_csv(self);
}

static keros_status begin_training(watch *self, const keros_event *event) {
    keros_status status;
    end_training(self);
    status = prepare_training(self, event);
    if (status != KEROS_OK)
        end_training(self);
    return status;
}

static void begin_epoch(watch *self) {
    uint64_t i;
    self->measured = 0;
    self->warned = 0;
    self->all.grad_sum = 0.0;
    for (i = 0; i < self->count; i++)
        self->each[i].grad_sum = 0.0;
}

/* Whether the optimizer scales the loss by as much as the gradients bear. It finds out how much that is by
   gradients that overflow, and passes over those itself. */
static int scales_loss(const watch *self, const keros_event *event) {
    keros_logs numbers;
    uint64_t i;
    memset(&numbers, 0, sizeof numbers);
    numbers.struct_size = sizeof numbers;
    if (self->optimizer == NULL || self->optimizer->numbers(event->run, &numbers) != KEROS_OK)
        return 0;
    for (i = 0; i < numbers.count; i++) {
        if (keros_text_is(keros_log_at(&numbers, i)->key, "dynamic_scale"))
            return 1;
    }
    return 0;
}

/* Says why the gradients just measured have exploded, if they have. Those that have overflowed have not. */
static int has_exploded(const watch *self, const keros_event *event, int overflowed, char *text, size_t size) {
    char where[96];
    uint64_t i;
    format(where, sizeof where, "in epoch %" PRIu64 ", batch %" PRIu64, event->epoch + 1, event->batch + 1);
    for (i = 0; i < self->count; i++) {
        const norms *norms = &self->each[i];
        if ((!is_finite(norms->grad) && !overflowed) || !is_finite(norms->weight)) {
            const char *what = is_finite(norms->weight) ? "gradient" : "weight";
            format(text, size, "the %s of %.256s is not finite %s", what, norms->name, where);
            return 1;
        }
    }
    if (self->all.grad > self->config.max_norm && !overflowed) {
        format(text, size, "the norm of the gradients is %g, more than %g, %s", self->all.grad, self->config.max_norm,
               where);
        return 1;
    }
    return 0;
}

static keros_status measure(watch *self, const keros_event *event, keros_decision *decision) {
    char text[TEXT_MAX];
    double weights = 0.0;
    double grads = 0.0;
    int overflowed;
    uint64_t i;
    for (i = 0; i < self->count; i++) {
        norms *norms = &self->each[i];
        keros_tensor tensor;
        double squares = 0.0;
        keros_status status;
        memset(&tensor, 0, sizeof tensor);
        status = self->parameters->value(event->run, i, &tensor);
        if (status == KEROS_OK) {
            squares = sum_of_squares(&tensor);
            weights += squares;
            norms->weight = sqrt(squares);
            if (norms->trainable)
                status = self->parameters->gradient(event->run, i, &tensor);
        }
        if (status != KEROS_OK) {
            format(text, sizeof text, "reading %.400s", norms->name);
            return fail(self, status, text);
        }
        if (norms->trainable) {
            squares = sum_of_squares(&tensor);
            grads += squares;
            norms->grad = sqrt(squares);
        }
    }
    self->all.weight = sqrt(weights);
    self->all.grad = sqrt(grads);
    self->fresh = 1;
    overflowed = !is_finite(grads) && scales_loss(self, event);
    if (!overflowed) {
        self->measured++;
        self->all.grad_sum += self->all.grad;
        for (i = 0; i < self->count; i++)
            self->each[i].grad_sum += self->each[i].grad;
    }
    if (self->csv != NULL) {
        write_row(self->csv, event, &self->all);
        for (i = 0; i < self->count; i++)
            write_row(self->csv, event, &self->each[i]);
        if (ferror(self->csv))
            return fail_csv(self, "writing");
    }
    if (has_exploded(self, event, overflowed, text, sizeof text)) {
        if (self->config.stop) {
            /* The weights stay as they were before; the run ends at the end of this batch. */
            decision->actions |= KEROS_SKIP_BATCH;
            memcpy(self->reason, text, sizeof text);
        } else if (!self->warned) {
            self->warned = 1;
            self->host->message(self->host, KEROS_WARNING, keros_text(text));
        }
    }
    return KEROS_OK;
}

static keros_status set_log(const keros_event *event, const char *key, double number) {
    keros_value value;
    value.kind = KEROS_F64;
    value.reserved = 0;
    value.as.f = number;
    return event->run->set_log(event->run, keros_text(key), &value);
}

/* Sets the logs: those of the last batch, or with `means` the mean gradient norms of the epoch. */
static keros_status set_logs(const watch *self, const keros_event *event, int means) {
    uint64_t shown = self->config.per_parameter ? self->count : 0;
    double divisor = (double)self->measured;
    keros_status status = KEROS_OK;
    uint64_t i;
    for (i = 0; i <= shown && status == KEROS_OK; i++) {
        const norms *norms = i == 0 ? &self->all : &self->each[i - 1];
        if (norms->trainable)
            status = set_log(event, norms->grad_key, means ? norms->grad_sum / divisor : norms->grad);
        if (status == KEROS_OK)
            status = set_log(event, norms->weight_key, norms->weight);
    }
    return status == KEROS_OK ? status : fail(self, status, "setting a log");
}

static keros_status on_event(void *instance, const keros_event *event, keros_decision *decision) {
    watch *self = instance;
    keros_status status = KEROS_OK;
    if (event->kind == KEROS_TRAIN_BEGIN)
        return begin_training(self, event);
    /* A host that goes on after a failure at train begin. */
    if (self->each == NULL)
        return KEROS_OK;
    switch (event->kind) {
    case KEROS_EPOCH_BEGIN:
        begin_epoch(self);
        return KEROS_OK;
    case KEROS_AFTER_BACKWARD:
        return event->batch % self->config.every == 0 ? measure(self, event, decision) : KEROS_OK;
    case KEROS_TRAIN_BATCH_END:
        if (self->fresh)
            status = set_logs(self, event, 0);
        self->fresh = 0;
        if (self->reason[0] != '\0') {
            decision->actions |= KEROS_STOP;
            decision->reason = keros_text(self->reason);
        }
        return status;
    case KEROS_EPOCH_END:
        if (self->csv != NULL && fflush(self->csv) != 0)
            return fail_csv(self, "writing");
        return self->measured > 0 ? set_logs(self, event, 1) : KEROS_OK;
    case KEROS_TRAIN_END:
        return end_training(self) ? KEROS_OK : fail_csv(self, "writing");
    default:
        return KEROS_OK;
    }
}

/* ---- State in checkpoints --------------------------------------------------------------------- */

/* The numbers that make the means of an epoch: how many batches, then of all parameters and of each
   one the sum of gradient norms and the last weight norm. Before them the length of the CSV file. */
static keros_status save_state(void *instance, const keros_sink *sink) {
    const watch *self = instance;
    double first[2];
    keros_status status;
    uint64_t i;
    first[0] = end_of_csv(self);
    first[1] = (double)self->measured;
    if (first[0] < 0.0)
        return fail_csv(self, "writing");
    status = sink->write(sink, first, sizeof first);
    for (i = 0; i <= self->count && status == KEROS_OK; i++) {
        const norms *norms = i == 0 ? &self->all : &self->each[i - 1];
        double pair[2];
        pair[0] = norms->grad_sum;
        pair[1] = norms->weight;
        status = sink->write(sink, pair, sizeof pair);
    }
    return status;
}

static keros_status load_state(void *instance, const void *bytes, uint64_t len) {
    watch *self = instance;
    const char *at = bytes;
    double first[2];
    uint64_t i;
    if (len != sizeof first + (self->count + 1) * 2 * sizeof(double))
        return fail(self, KEROS_E_ARG, "the state in the checkpoint is that of another network");
    memcpy(first, at, sizeof first);
    at += sizeof first;
    self->measured = (uint64_t)first[1];
    for (i = 0; i <= self->count; i++) {
        norms *norms = i == 0 ? &self->all : &self->each[i - 1];
        double pair[2];
        memcpy(pair, at, sizeof pair);
        at += sizeof pair;
        norms->grad_sum = pair[0];
        norms->weight = pair[1];
    }
    return cut_csv(self, first[0]);
}

static const keros_state state = {sizeof(keros_state), 0, save_state, load_state};

static const void *extension(void *instance, keros_str id) {
    (void)instance;
    return keros_text_is(id, KEROS_EXT_STATE) ? &state : NULL;
}

/* ---- The plugin ------------------------------------------------------------------------------- */

static void destroy(void *instance) {
    watch *self = instance;
    end_training(self);
    free(self->config.csv);
    free(self);
}

static keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    reader json;
    watch *self = calloc(1, sizeof *self);
    if (self == NULL)
        return KEROS_E_OTHER;
    self->host = host;
    self->config.max_norm = 1e6;
    self->config.every = 1;
    self->config.stop = 1;
    json.at = config.len > 0 ? config.ptr : "";
    json.end = json.at + config.len;
    if (!read_settings(&json, &self->config)) {
        host->fail(host, keros_text(json.error));
        destroy(self);
        return KEROS_E_CONFIG;
    }
    self->parameters = host->extension(host, keros_text(KEROS_EXT_PARAMETERS));
    if (self->parameters == NULL) {
        host->fail(host, keros_text("the host has no " KEROS_EXT_PARAMETERS));
        destroy(self);
        return KEROS_E_VERSION;
    }
    self->optimizer = host->extension(host, keros_text(KEROS_EXT_OPTIMIZER));
    out->events = KEROS_BIT(KEROS_TRAIN_BEGIN) | KEROS_BIT(KEROS_TRAIN_END) | KEROS_BIT(KEROS_EPOCH_BEGIN) |
                  KEROS_BIT(KEROS_EPOCH_END) | KEROS_BIT(KEROS_AFTER_BACKWARD) | KEROS_BIT(KEROS_TRAIN_BATCH_END);
    out->instance = self;
    out->on_event = on_event;
    out->destroy = destroy;
    out->extension = extension;
    return KEROS_OK;
}

/* What `read_settings` takes, for hosts that show or check configurations. */
static const char schema_text[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"grad-watch\",\"type\":\"object\","
    "\"additionalProperties\":false,\"properties\":{"
    "\"max_norm\":{\"type\":\"number\",\"exclusiveMinimum\":0,\"default\":1e6,"
    "\"description\":\"Norm of all gradients together above which they have exploded.\"},"
    "\"every\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000000,\"default\":1,"
    "\"description\":\"Measure the first of every so many batches.\"},"
    "\"stop\":{\"type\":\"boolean\",\"default\":true,"
    "\"description\":\"Stop the run when gradients explode, or only warn.\"},"
    "\"per_parameter\":{\"type\":\"boolean\",\"default\":false,"
    "\"description\":\"Set logs for each parameter, too.\"},"
    "\"csv\":{\"type\":\"string\",\"minLength\":1,\"description\":\"The CSV file to write.\"},"
    "\"append\":{\"type\":\"boolean\",\"default\":false,"
    "\"description\":\"Add to the CSV file, instead of creating it anew.\"}}}";

static const keros_schema schema = {sizeof(keros_schema), 0, {schema_text, sizeof schema_text - 1}};

/* Whether sums come out right here: of 0, 1 ... 6, and of what must not pass for a number. */
static keros_status run_self_test(const keros_host *host) {
    float values[7] = {0.0f, 1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    int64_t len = 7;
    keros_tensor tensor;
    int good;
    memset(&tensor, 0, sizeof tensor);
    tensor.data = values;
    tensor.ndim = 1;
    tensor.shape = &len;
    good = sum_of_squares(&tensor) == 91.0;
    values[5] = (float)HUGE_VAL;
    good = good && !is_finite(sum_of_squares(&tensor));
    values[2] = (float)(HUGE_VAL - HUGE_VAL);
    good = good && !is_finite(sum_of_squares(&tensor));
    if (!good)
        host->fail(host, keros_text("sums of squares are wrong: built with unsafe floating-point optimizations?"));
    return good ? KEROS_OK : KEROS_E_OTHER;
}

static const keros_self_test self_test = {sizeof(keros_self_test), 0, run_self_test};

static const void *module_extension(keros_str id) {
    if (keros_text_is(id, KEROS_EXT_SCHEMA))
        return &schema;
    return keros_text_is(id, KEROS_EXT_SELF_TEST) ? &self_test : NULL;
}

const keros_plugin_module keros_plugin_v1 = {
    KEROS_MAGIC, sizeof(keros_plugin_module), KEROS_ABI_MAJOR, KEROS_ABI_MINOR, 1,
    "grad-watch", "0.1.0", "The keros developers", "MIT OR Apache-2.0",
    "Norms of gradients and weights, and a stop when gradients explode", "C99",
    create, module_extension
};
