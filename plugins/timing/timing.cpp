// timing: how long batches take and how long they are waited for, as percentiles per epoch.
// A keros plugin in C++11; README.md tells what it does and how to build it.
#include "keros.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <exception>
#include <locale>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// A failure with the status the host gets and the words people get.
struct failure : std::runtime_error {
    keros_status status;
    failure(keros_status why, const std::string &text) : std::runtime_error(text), status(why) {}
};

keros_str view(const std::string &text) {
    keros_str result;
    result.ptr = text.data();
    result.len = text.size();
    return result;
}

// A number with at most so many digits that count, the same wherever the host lives.
std::string number(double value, int digits) {
    std::ostringstream text;
    text.imbue(std::locale::classic());
    text.precision(digits);
    text << value;
    return text.str();
}

// Passes on a status of the host.
void check(keros_status status, const char *doing) {
    if (status != KEROS_OK)
        throw failure(status, doing);
}

// Runs `body`; nothing it throws leaves this function.
template <typename Body> keros_status guard(const keros_host *host, Body body) noexcept {
    try {
        body();
        return KEROS_OK;
    } catch (const failure &error) {
        host->fail(host, keros_text(error.what()));
        return error.status;
    } catch (const std::bad_alloc &) {
        host->fail(host, keros_text("out of memory"));
        return KEROS_E_OTHER;
    } catch (const std::exception &error) {
        host->fail(host, keros_text(error.what()));
        return KEROS_E_PANIC;
    } catch (...) {
        host->fail(host, keros_text("an exception that is no std::exception"));
        return KEROS_E_PANIC;
    }
}

// ---- Configuration ------------------------------------------------------------------------------

struct settings {
    std::vector<double> percentiles;
    bool message;
    settings() : percentiles({50.0, 95.0, 99.0}), message(true) {}
};

// Reads the few kinds of JSON that `settings` needs.
class reader {
  public:
    explicit reader(keros_str json) : at_(json.len > 0 ? json.ptr : ""), end_(at_ + json.len) {}

    settings read() {
        settings result;
        skip();
        if (at_ == end_)
            return result;
        expect('{', "config: expected an object");
        if (!accept('}')) {
            do {
                const std::string field = key();
                expect(':', "config: expected `:` after the name of a field");
                if (field == "percentiles")
                    result.percentiles = percentiles();
                else if (field == "message")
                    result.message = boolean(field);
                else
                    throw wrong("config field `" + field +
                                "`: unknown field, expected one of `percentiles`, `message`");
            } while (accept(','));
            expect('}', "config: expected `,` or `}`");
        }
        if (at_ != end_)
            throw wrong("config: expected nothing after the object");
        return result;
    }

  private:
    const char *at_;
    const char *end_;

    static failure wrong(const std::string &text) { return failure(KEROS_E_CONFIG, text); }

    void skip() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r'))
            ++at_;
    }

    // Takes this character, and the space after it, if it is the next one.
    bool accept(char wanted) {
        if (at_ == end_ || *at_ != wanted)
            return false;
        ++at_;
        skip();
        return true;
    }

    void expect(char wanted, const char *otherwise) {
        if (!accept(wanted))
            throw wrong(otherwise);
    }

    std::string key() {
        if (at_ == end_ || *at_ != '"')
            throw wrong("config: expected the name of a field in quotation marks");
        const char *begin = ++at_;
        while (at_ != end_ && *at_ != '"')
            ++at_;
        if (at_ == end_)
            throw wrong("config: expected `\"` at the end of a name");
        const std::string name(begin, at_);
        accept('"');
        return name;
    }

    bool word(const char *wanted) {
        const std::string text(wanted);
        if (static_cast<std::size_t>(end_ - at_) < text.size() || text.compare(0, text.size(), at_, text.size()) != 0)
            return false;
        at_ += text.size();
        skip();
        return true;
    }

    bool boolean(const std::string &field) {
        if (word("true"))
            return true;
        if (word("false"))
            return false;
        throw wrong("config field `" + field + "`: expected true or false");
    }

    std::vector<double> percentiles() {
        const char *expected = "config field `percentiles`: expected 1 to 16 numbers from 0 to 100 in brackets";
        std::vector<double> result;
        expect('[', expected);
        do {
            const char *begin = at_;
            while (at_ != end_ && ((*at_ >= '0' && *at_ <= '9') || *at_ == '.'))
                ++at_;
            std::istringstream text(std::string(begin, at_));
            text.imbue(std::locale::classic());
            double value = -1.0;
            text >> value;
            if (!text || !text.eof() || value < 0.0 || value > 100.0 || result.size() == 16)
                throw wrong(expected);
            result.push_back(value);
            skip();
        } while (accept(','));
        expect(']', expected);
        return result;
    }
};

// ---- Measurement --------------------------------------------------------------------------------

// Durations in buckets that are 2 % wide, so that the memory is bounded however long the epoch: any
// percentile is right to 1 %.
class histogram {
  public:
    histogram() { clear(); }

    void clear() {
        counts_.fill(0);
        total_ = 0;
        max_ns_ = 0.0;
    }

    void add(double ns) {
        const double place = ns < 1.0 ? 0.0 : std::log(ns) / width();
        ++counts_[std::min(static_cast<std::size_t>(place), counts_.size() - 1)];
        ++total_;
        max_ns_ = std::max(max_ns_, ns);
    }

    uint64_t total() const { return total_; }

    // The smallest duration that so many per cent of all do not exceed, in milliseconds.
    double percentile_ms(double percent) const {
        // The slack is for numbers like 99.9 * 1000 / 100, which is a little more than 999.
        const double total = static_cast<double>(total_);
        const double wanted = std::ceil(percent * total / 100.0 - 1e-9 * total);
        uint64_t passed = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            passed += counts_[i];
            if (passed > 0 && static_cast<double>(passed) >= wanted) {
                const double middle = i == 0 ? 0.0 : std::exp((static_cast<double>(i) + 0.5) * width());
                return std::min(middle, max_ns_) / 1e6;
            }
        }
        return max_ns_ / 1e6;
    }

  private:
    static double width() { return 0.02; }
    // Up to e^(0.02 * 1600) ns: a day.
    std::array<uint64_t, 1600> counts_;
    uint64_t total_;
    double max_ns_;
};

typedef std::chrono::steady_clock timer;

class timing {
  public:
    timing(const keros_host *host, const settings &settings) : host_(host), settings_(settings), wait_ns_(0) {}

    const keros_host *host() const { return host_; }

    void on_event(const keros_event &event) {
        switch (event.kind) {
        // A run that goes on from a checkpoint inside of an epoch has no begin of that epoch.
        case KEROS_TRAIN_BEGIN:
        case KEROS_EPOCH_BEGIN:
            batches_.clear();
            waits_.clear();
            wait_ns_ = 0;
            begun_ = false;
            break;
        case KEROS_TRAIN_BATCH_BEGIN:
            wait(*event.run);
            batch_begin_ = timer::now();
            if (!begun_)
                begin_ = batch_begin_ - std::chrono::nanoseconds(wait_ns_);
            begun_ = true;
            break;
        case KEROS_TRAIN_BATCH_END:
            batches_.add(ns_since(batch_begin_));
            train_ns_ = ns_since(begin_);
            break;
        case KEROS_EPOCH_END:
            if (batches_.total() > 0)
                tell(event);
            break;
        default:
            break;
        }
    }

  private:
    const keros_host *host_;
    settings settings_;
    histogram batches_;
    histogram waits_;
    uint64_t wait_ns_;
    // Whether the epoch has had a batch.
    bool begun_ = false;
    // When it began to wait for the first of them.
    timer::time_point begin_;
    timer::time_point batch_begin_;
    // From there to the end of its last batch so far.
    double train_ns_ = 0.0;

    static double ns_since(timer::time_point begin) {
        return std::chrono::duration<double, std::nano>(timer::now() - begin).count();
    }

    // Adds what the run has waited for the batch that begins.
    void wait(const keros_run &run) {
        uint64_t sum_ns = 0;
        check(run.data_wait_ns(&run, &sum_ns), "asking how long the run has waited for data");
        waits_.add(sum_ns > wait_ns_ ? static_cast<double>(sum_ns - wait_ns_) : 0.0);
        wait_ns_ = sum_ns;
    }

    void tell(const keros_event &event) {
        for (const double percent : settings_.percentiles) {
            const std::string name = "_ms_p" + number(percent, 6);
            log(*event.run, "batch" + name, batches_.percentile_ms(percent));
            log(*event.run, "data_wait" + name, waits_.percentile_ms(percent));
        }
        if (!settings_.message)
            return;
        const double share = train_ns_ > 0.0 ? static_cast<double>(wait_ns_) / train_ns_ : 0.0;
        const std::string text = "epoch " + std::to_string(event.epoch + 1) + ": half of the batches take at most " +
                                 number(batches_.percentile_ms(50.0), 3) + " ms and 99 of 100 at most " +
                                 number(batches_.percentile_ms(99.0), 3) + " ms; the training waited for data " +
                                 number(100.0 * std::min(share, 1.0), 2) + " % of the time";
        // Too many messages are no reason to fail.
        host_->message(host_, KEROS_INFO, view(text));
    }

    static void log(const keros_run &run, const std::string &key, double value) {
        keros_value content;
        content.kind = KEROS_F64;
        content.reserved = 0;
        content.as.f = value;
        check(run.set_log(&run, view(key), &content), "setting a log");
    }
};

} // namespace

// ---- The C side ---------------------------------------------------------------------------------

extern "C" {

static keros_status on_event(void *instance, const keros_event *event, keros_decision *) {
    timing *self = static_cast<timing *>(instance);
    return guard(self->host(), [=] { self->on_event(*event); });
}

static void destroy(void *instance) { delete static_cast<timing *>(instance); }

static keros_status create(const keros_host *host, keros_str config, keros_callback *out) {
    return guard(host, [=] {
        out->instance = new timing(host, reader(config).read());
        out->events = KEROS_BIT(KEROS_TRAIN_BEGIN) | KEROS_BIT(KEROS_EPOCH_BEGIN) |
                      KEROS_BIT(KEROS_TRAIN_BATCH_BEGIN) | KEROS_BIT(KEROS_TRAIN_BATCH_END) |
                      KEROS_BIT(KEROS_EPOCH_END);
        out->on_event = on_event;
        out->destroy = destroy;
    });
}

static const void *module_extension(keros_str id) {
    static const char text[] =
        R"({"$schema":"https://json-schema.org/draft/2020-12/schema","title":"timing","type":"object",)"
        R"("additionalProperties":false,"properties":{"percentiles":{"type":"array","minItems":1,"maxItems":16,)"
        R"("items":{"type":"number","minimum":0,"maximum":100},"default":[50,95,99],)"
        R"("description":"Percentiles to set as logs."},"message":{"type":"boolean","default":true,)"
        R"("description":"Whether to tell a sentence per epoch."}}})";
    static const keros_schema schema = {sizeof(keros_schema), 0, {text, sizeof text - 1}};
    return keros_text_is(id, KEROS_EXT_SCHEMA) ? &schema : nullptr;
}

const keros_plugin_module keros_plugin_v1 = {
    KEROS_MAGIC,
    sizeof(keros_plugin_module),
    KEROS_ABI_MAJOR,
    KEROS_ABI_MINOR,
    0,
    "timing",
    "0.1.0",
    "The keros developers",
    "MIT OR Apache-2.0",
    "Percentiles of the time of a batch and of the wait for data, per epoch",
    "C++11",
    create,
    module_extension,
};

} // extern "C"
