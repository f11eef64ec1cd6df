// Activations, element by element; the formulas are those of kernels/function.rs. Each is a kernel of its own, so that
// none waits for the registers of another.
#include "elementwise.cuh"
#include "math.cuh"

#define SELU_SCALE 1.050701f
#define SELU_ALPHA 1.6732632f

namespace {

// The numbers of a function, by the order in which they stand in kernels/function.rs.
struct Numbers {
    float a, b, c;
};

struct Relu : Numbers {
    __device__ float value(float x) const {
        float above = x > a ? a : x;
        // Neither NaN nor minus infinity may meet the slope 0.
        if (b == 0)
            return x <= c ? 0.0f : above;
        return x > c ? above : b * (x - c);
    }
    __device__ float gradient(float kept, float dy) const {
        float above = kept >= a ? 0.0f : dy;
        float below = kept < c ? b * dy : 0.0f;
        return kept > c ? above : below;
    }
};

__device__ __forceinline__ float elu(float x, float alpha) {
    return x < 0 ? alpha * math::exp_m1_below_0(x) : x;
}

// The output is kept if alpha is above 0.
struct Elu : Numbers {
    __device__ float value(float x) const { return elu(x, a); }
    __device__ float gradient(float kept, float dy) const {
        float below = a > 0 ? kept + a : a * math::exp(kept);
        return dy * (kept < 0 ? below : 1.0f);
    }
};

struct Selu : Numbers {
    __device__ float value(float x) const { return SELU_SCALE * elu(x, SELU_ALPHA); }
    __device__ float gradient(float y, float dy) const {
        return dy * (y < 0 ? y + SELU_SCALE * SELU_ALPHA : SELU_SCALE);
    }
};

struct Sigmoid : Numbers {
    __device__ float value(float x) const { return math::sigmoid(x); }
    __device__ float gradient(float y, float dy) const { return dy * (y * (1.0f - y)); }
};

struct Tanh : Numbers {
    __device__ float value(float x) const { return math::tanh(x); }
    __device__ float gradient(float y, float dy) const { return dy * (1.0f - y * y); }
};

struct Softplus : Numbers {
    __device__ float value(float x) const { return math::softplus(x); }
    __device__ float gradient(float y, float dy) const { return dy * -math::exp_m1_below_0(-y); }
};

struct Softsign : Numbers {
    __device__ float value(float x) const { return x / (1.0f + fabsf(x)); }
    __device__ float gradient(float y, float dy) const {
        float rest = 1.0f - fabsf(y);
        return dy * (rest * rest);
    }
};

struct Exponential : Numbers {
    __device__ float value(float x) const { return math::exp(x); }
    __device__ float gradient(float y, float dy) const { return dy * y; }
};

__device__ __forceinline__ float hard_sigmoid(float x) { return math::between(x + 3.0f, 0.0f, 6.0f) / 6.0f; }

struct HardSigmoid : Numbers {
    __device__ float value(float x) const { return hard_sigmoid(x); }
    __device__ float gradient(float y, float dy) const { return y > 0 && y < 1 ? dy / 6.0f : 0.0f; }
};

struct HardSilu : Numbers {
    __device__ float value(float x) const { return x * hard_sigmoid(x); }
    __device__ float gradient(float x, float dy) const {
        return dy * (hard_sigmoid(x) + (x > -3 && x < 3 ? x / 6.0f : 0.0f));
    }
};

// Keeps minus infinity from meeting a 0.
__device__ __forceinline__ float bounded_below(float x) { return x < -120 ? -120.0f : x; }

struct Silu : Numbers {
    __device__ float value(float x) const { return bounded_below(x) * math::sigmoid(x); }
    __device__ float gradient(float x, float dy) const {
        float e = math::decay(x), inverse = 1.0f / (1.0f + e);
        float s = (x < 0 ? e : 1.0f) * inverse, rest = (x < 0 ? 1.0f : e) * inverse;
        return dy * (s + s * math::between(x, -120.0f, 120.0f) * rest);
    }
};

struct Gelu : Numbers {
    __device__ float value(float x) const {
        float e, q = math::normal_tail(x, &e);
        float beyond = math::between(x, -15.0f, 15.0f) * q * e;
        return x <= 0 ? beyond : x - beyond;
    }
    __device__ float gradient(float x, float dy) const {
        float e, q = math::normal_tail(x, &e);
        float beyond = e * (q - 0.3989423f * math::between(fabsf(x), 0.0f, 15.0f));
        return dy * (x < 0 ? beyond : 1.0f - beyond);
    }
};

// tanh(softplus(x)) is part / (part + rest).
struct Mish : Numbers {
    __device__ float value(float x) const {
        float e = math::decay(x), part = part_of(x, e);
        return bounded_below(x) * (part / (part + rest_of(x, e)));
    }
    __device__ float gradient(float x, float dy) const {
        float e = math::decay(x), part = part_of(x, e);
        float inverse = 1.0f / (part + rest_of(x, e));
        float slope = 4.0f * (x < 0 ? e : e * e) * (1.0f + e) * inverse;
        return dy * ((part + math::between(x, -120.0f, 120.0f) * slope) * inverse);
    }
    static __device__ float part_of(float x, float e) { return x < 0 ? e * e + 2.0f * e : 1.0f + 2.0f * e; }
    static __device__ float rest_of(float x, float e) { return x < 0 ? 2.0f : 2.0f * e * e; }
};

} // namespace

#define FUNCTION(name, Type)                                                                       \
    KERNELS(name, (const T *x, T *y, long long n, float a, float b, float c), {                    \
        Type f{{a, b, c}};                                                                         \
        map(x, y, n, [=](float x) { return f.value(x); });                                         \
    })                                                                                             \
    KERNELS(name##_backward,                                                                       \
            (const T *kept, const T *dy, T *dx, long long n, float a, float b, float c), {         \
                Type f{{a, b, c}};                                                                 \
                zip(kept, dy, dx, n, [=](float kept, float dy) { return f.gradient(kept, dy); });  \
            })

FUNCTION(relu, Relu)
FUNCTION(elu, Elu)
FUNCTION(selu, Selu)
FUNCTION(sigmoid, Sigmoid)
FUNCTION(tanh, Tanh)
FUNCTION(softplus, Softplus)
FUNCTION(softsign, Softsign)
FUNCTION(exponential, Exponential)
FUNCTION(hard_sigmoid, HardSigmoid)
FUNCTION(hard_silu, HardSilu)
FUNCTION(silu, Silu)
FUNCTION(gelu, Gelu)
FUNCTION(mish, Mish)
