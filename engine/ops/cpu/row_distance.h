// Two vectors, the first float32 or float16: squared distance and product in float32, product in float64.
// The order of additions depends on the length alone.
#pragma once
#include "gemm_pack.h"

namespace luss {

#if defined(__AVX512BW__)
inline float sum_of(vf v) { return _mm512_reduce_add_ps((__m512)v); }
#else
inline float sum_of(vf v) {
    for (int width = LANES / 2; width >= 1; width /= 2)
        for (int i = 0; i < width; ++i) v[i] += v[i + width];
    return v[0];
}
#endif

template <class T, class Term> inline float sum_of_terms(const T* x, const float* c, int d, Term&& term) {
    vf even = {}, odd = {};
    int p = 0;
    for (; p + 2 * LANES <= d; p += 2 * LANES) {
        even = term(floats_at(x + p), load<vf>(c + p), even);
        odd = term(floats_at(x + p + LANES), load<vf>(c + p + LANES), odd);
    }
    if (p < d) {
        float rest_x[2 * LANES] = {}, rest_c[2 * LANES] = {};
        for (int i = 0; p + i < d; ++i) rest_x[i] = number(x[p + i]), rest_c[i] = c[p + i];
        even = term(load<vf>(rest_x), load<vf>(rest_c), even);
        odd = term(load<vf>(rest_x + LANES), load<vf>(rest_c + LANES), odd);
    }
    return sum_of(even + odd);
}

template <class T> inline float squared_distance(const T* x, const float* c, int d) {
    return sum_of_terms(x, c, d, [](vf a, vf b, vf sum) { return fused(a - b, a - b, sum); });
}

template <class T> inline float product(const T* x, const float* c, int d) {
    return sum_of_terms(x, c, d, [](vf a, vf b, vf sum) { return fused(a, b, sum); });
}

// Products of float32 numbers are exact in float64, so a fused and a plain multiply-add give the same.
template <class T> inline double product_fp64(const T* x, const float* c, int d) {
    double sums[8] = {};
    int p = 0;
    for (; p + 8 <= d; p += 8)
        for (int i = 0; i < 8; ++i) sums[i] += static_cast<double>(number(x[p + i])) * c[p + i];
    for (; p < d; ++p) sums[0] += static_cast<double>(number(x[p])) * c[p];
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

} // namespace luss
