// Numbers of the host, as they have arrived, become those that kernels work on. Rust's `as` does the same on the CPU;
// what cannot be converted is refused before it travels.
#include "common.cuh"

template <class From, class To> __device__ void convert(const From *x, To *y, long long n) {
    FOR_EACH(i, n) y[i] = (To)x[i];
}

// Pixels: four bytes make one load and one store of 16 bytes. Both addresses begin a buffer, so they are aligned.
KERNEL(upload_u8_f32, (const unsigned char *x, float *y, long long n)) {
    long long fours = n / 4;
    FOR_EACH(i, fours) {
        uchar4 v = ((const uchar4 *)x)[i];
        ((float4 *)y)[i] = make_float4(v.x, v.y, v.z, v.w);
    }
    FOR_EACH(i, n - 4 * fours) y[4 * fours + i] = x[4 * fours + i];
}
KERNEL(upload_i64_f32, (const long long *x, float *y, long long n)) { convert(x, y, n); }
KERNEL(upload_u8_u32, (const unsigned char *x, unsigned *y, long long n)) { convert(x, y, n); }
KERNEL(upload_i64_u32, (const long long *x, unsigned *y, long long n)) { convert(x, y, n); }
KERNEL(upload_f32_u32, (const float *x, unsigned *y, long long n)) { convert(x, y, n); }
