// Half precision, as far as keros uses it of the header of that name.
#pragma once

using __half = _Float16;

inline __half __float2half_rn(float x) { return (__half)x; }
inline float __half2float(__half x) { return (float)x; }
inline unsigned short __half_as_ushort(__half x) { unsigned short u; memcpy(&u, &x, 2); return u; }
inline __half __ushort_as_half(unsigned short u) { __half x; memcpy(&x, &u, 2); return x; }
