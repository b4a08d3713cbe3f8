// exp and the logistic function of vectors, and fused multiply-add: in SSE2, AVX2 and AVX-512 by the compiler's macros.
#pragma once
#include <cmath>

#include "lanes.h"

namespace luss {

// a * b + c with one rounding. The portable one is exact, too, and slow where the processor has no such instruction.
inline vf fused(vf a, vf b, vf c) {
#if defined(__AVX512BW__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    for (int i = 0; i < LANES; ++i) c[i] = std::fma(a[i], b[i], c[i]);
    return c;
#endif
}

inline vf splat(float x) { return constant(x, vf{}); }

inline float sum(vf v) {
    float part[LANES];
    store(part, v);
    for (int step = LANES / 2; step > 0; step /= 2)
        for (int i = 0; i < step; ++i) part[i] += part[i + step];
    return part[0];
}

/* exp(x) for x cut off to [-87, 87]; NaN stays NaN. x = n ln 2 + r, |r| <= ln 2 / 2: the polynomial is the series of exp(r) up to r^7 / 7!,
   whose next term is at most 5.2e-9; ln 2 has 9 zero bits in its first part, so n times it is exact. With the roundings of the last two
   steps, half a unit of 1.42 and half a unit of the sum, the relative error stays below 1.2e-7; over all of the interval 1.0e-7 was seen. */
inline vf exponential(vf x) {
    x = least(splat(87.0f), most(splat(-87.0f), x)); // both hand on their second argument where it is NaN
    const float shift = 12582912.0f;                 // 1.5 * 2^23: adding it rounds to whole numbers
    const vf shifted = fused(x, splat(1.44269504f), splat(shift));
    const vf n = shifted - shift;
    const vf r = fused(n, splat(2.12194440e-4f), fused(n, splat(-0.693359375f), x));
    vf p = splat(1.0f / 5040);
    p = fused(p, r, splat(1.0f / 720));
    p = fused(p, r, splat(1.0f / 120));
    p = fused(p, r, splat(1.0f / 24));
    p = fused(p, r, splat(1.0f / 6));
    p = fused(p, r, splat(0.5f));
    p = fused(p, r, splat(1.0f));
    p = fused(p, r, splat(1.0f));
    const vi power = ((vi)shifted - 0x4B400000 + 127) << 23; // the bits of 2^n
    return p * (vf)power;
}

// 1 / (1 + exp(-x)), relative error below 2.5e-7; at least exp(-87), at most 1; NaN stays NaN.
inline vf sigmoid(vf x) { return 1.0f / (1.0f + exponential(-x)); }

} // namespace luss
