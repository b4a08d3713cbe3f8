// IEEE half precision: conversions round to nearest, ties to even; arithmetic is done in a wider type and rounded once, as the card does.
// __hfma goes through double: exact except where product and summand lie so far apart that double itself has to round (2^-53).
#pragma once
#include <cmath>
#include <cstring>

#include "vector_types.h"

struct __half {
    uint16_t bits;
};
struct alignas(4) __half2 {
    __half x, y;
};
typedef __half half;
typedef __half2 half2;

namespace cuda_on_cpu {
inline __half to_half(double value) {
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    const double size = std::fabs(value);
    if (std::isnan(value)) return __half{static_cast<uint16_t>(sign | 0x7e00)};
    if (size >= 65520) return __half{static_cast<uint16_t>(sign | 0x7c00)};
    const int exponent = size == 0 ? -14 : std::max(std::ilogb(size), -14);
    const double steps = std::nearbyint(std::ldexp(size, 10 - exponent)); // of 2^(exponent - 10); 2048 carries into the exponent by itself
    return __half{static_cast<uint16_t>(sign | (static_cast<int>(steps) + ((exponent + 14) << 10)))};
}
} // namespace cuda_on_cpu

inline __half __float2half_rn(float value) { return cuda_on_cpu::to_half(value); }
inline __half __float2half(float value) { return __float2half_rn(value); }
inline float __half2float(__half half) {
    const int exponent = half.bits >> 10 & 31, fraction = half.bits & 1023;
    const uint32_t sign = static_cast<uint32_t>(half.bits & 0x8000) << 16;
    uint32_t bits = 0;
    if (exponent == 0) {
        const float size = 5.9604644775390625e-8f * static_cast<float>(fraction);  // 2^-24
        std::memcpy(&bits, &size, 4);
    } else {
        bits = exponent == 31 ? 0x7f800000u | static_cast<uint32_t>(fraction) << 13 : static_cast<uint32_t>(exponent + 112) << 23 | fraction << 13;
    }
    bits |= sign;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}
inline __half __ushort_as_half(unsigned short bits) { return __half{bits}; }
inline unsigned short __half_as_ushort(__half half) { return half.bits; }
inline bool __hisnan(__half a) { return (a.bits & 0x7fff) > 0x7c00; }

inline __half __hadd(__half a, __half b) { return cuda_on_cpu::to_half(static_cast<double>(__half2float(a)) + __half2float(b)); }
inline __half __hsub(__half a, __half b) { return cuda_on_cpu::to_half(static_cast<double>(__half2float(a)) - __half2float(b)); }
inline __half __hmul(__half a, __half b) { return cuda_on_cpu::to_half(static_cast<double>(__half2float(a)) * __half2float(b)); }
inline __half __hdiv(__half a, __half b) { return cuda_on_cpu::to_half(static_cast<double>(__half2float(a)) / __half2float(b)); }
inline __half __hfma(__half a, __half b, __half c) {
    return cuda_on_cpu::to_half(std::fma(static_cast<double>(__half2float(a)), __half2float(b), __half2float(c)));
}
inline __half __hneg(__half a) { return __half{static_cast<uint16_t>(a.bits ^ 0x8000)}; }
inline __half __habs(__half a) { return __half{static_cast<uint16_t>(a.bits & 0x7fff)}; }
inline bool __hlt(__half a, __half b) { return __half2float(a) < __half2float(b); }
inline bool __hle(__half a, __half b) { return __half2float(a) <= __half2float(b); }
inline bool __hgt(__half a, __half b) { return __half2float(a) > __half2float(b); }
inline bool __hge(__half a, __half b) { return __half2float(a) >= __half2float(b); }
inline bool __heq(__half a, __half b) { return __half2float(a) == __half2float(b); }
inline __half __hmax(__half a, __half b) { return __hisnan(a) || __hgt(b, a) ? b : a; }
inline __half __hmin(__half a, __half b) { return __hisnan(a) || __hlt(b, a) ? b : a; }
inline __half operator+(__half a, __half b) { return __hadd(a, b); }
inline __half operator-(__half a, __half b) { return __hsub(a, b); }
inline __half operator*(__half a, __half b) { return __hmul(a, b); }
inline __half operator/(__half a, __half b) { return __hdiv(a, b); }
inline __half operator-(__half a) { return __hneg(a); }
inline bool operator<(__half a, __half b) { return __hlt(a, b); }
inline bool operator>(__half a, __half b) { return __hgt(a, b); }
inline bool operator==(__half a, __half b) { return __heq(a, b); }

inline __half2 __halves2half2(__half low, __half high) { return __half2{low, high}; }
inline __half2 __half2half2(__half a) { return __half2{a, a}; }
inline __half2 __floats2half2_rn(float low, float high) { return __half2{__float2half_rn(low), __float2half_rn(high)}; }
inline __half2 __float22half2_rn(float2 a) { return __floats2half2_rn(a.x, a.y); }
inline __half2 __float2half2_rn(float a) { return __floats2half2_rn(a, a); }
inline float2 __half22float2(__half2 a) { return float2{__half2float(a.x), __half2float(a.y)}; }
inline __half __low2half(__half2 a) { return a.x; }
inline __half __high2half(__half2 a) { return a.y; }
inline float __low2float(__half2 a) { return __half2float(a.x); }
inline float __high2float(__half2 a) { return __half2float(a.y); }
inline __half2 __hadd2(__half2 a, __half2 b) { return __half2{__hadd(a.x, b.x), __hadd(a.y, b.y)}; }
inline __half2 __hsub2(__half2 a, __half2 b) { return __half2{__hsub(a.x, b.x), __hsub(a.y, b.y)}; }
inline __half2 __hmul2(__half2 a, __half2 b) { return __half2{__hmul(a.x, b.x), __hmul(a.y, b.y)}; }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return __half2{__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
inline __half2 __hmax2(__half2 a, __half2 b) { return __half2{__hmax(a.x, b.x), __hmax(a.y, b.y)}; }
inline __half2 __hmin2(__half2 a, __half2 b) { return __half2{__hmin(a.x, b.x), __hmin(a.y, b.y)}; }
