/* Where a pixel's value comes from in a small map that is enlarged: once or twice bilinearly (align_corners false, pixel centres), and looked up
   by nearest after that. Both axes of both steps together are at most 3 x 3 numbers (spec/sampass.md 1.3). Plain C++ for g++ and nvcc.

   The order of rounding, on every path: weights are made in double and rounded to float once; then, for each column tap in ascending order, the
   rows in ascending order by fused multiply-adds from 0, and those sums over the columns by fused multiply-adds from 0.
   A tap of weight 0 takes no part: NaN and infinity there do not reach the pixel, and nothing is read. */
#pragma once
#include "luss/exact.h"

struct luss_tap {
    int32_t first;   // of the taps: first, first + 1, first + 2
    float weight[3]; // >= 0; the first is never 0; a tap beyond the map's edge has 0
};
static_assert(sizeof(luss_tap) == 16, "one 16-byte load");

#ifdef __CUDA_ARCH__
LUSS_BOTH double luss_dadd(double a, double b) { return __dadd_rn(a, b); }
LUSS_BOTH double luss_dmul(double a, double b) { return __dmul_rn(a, b); }
LUSS_BOTH double luss_ddiv(double a, double b) { return __ddiv_rn(a, b); }
LUSS_BOTH float luss_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
#else
LUSS_BOTH double luss_dadd(double a, double b) { return a + b; }
LUSS_BOTH double luss_dmul(double a, double b) { return a * b; }
LUSS_BOTH double luss_ddiv(double a, double b) { return a / b; }
LUSS_BOTH float luss_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#endif

/* Index i of `target` lies between low and low + 1 of `source`, `part` of the way. */
LUSS_BOTH void luss_bilinear(int i, int source, int target, int& low, double& part) {
    double at = luss_dadd(luss_ddiv(luss_dmul(i + 0.5, source), target), -0.5);
    at = at > 0 ? at : 0;
    low = static_cast<int>(at) < source - 1 ? static_cast<int>(at) : source - 1;
    part = luss_dadd(at, -low);
}

/* min(floor(i * (grid / target)), grid - 1), both operations in float: the published index of a nearest look-up. */
LUSS_BOTH int luss_nearest(int i, int grid, int target) {
    const int at = static_cast<int>(luss_mul(static_cast<float>(i), luss_div(static_cast<float>(grid), static_cast<float>(target))));
    return at < grid - 1 ? at : grid - 1;
}

/* Taps of index i of `target`: nearest in `grid`, which is `source` enlarged bilinearly, by way of `middle` >= source if that is not 0. */
LUSS_BOTH luss_tap luss_axis_tap(int i, int source, int middle, int grid, int target) {
    const int inner = middle ? middle : source;
    int low, first;
    double part, inner_part, sum[3] = {0, 0, 0};
    luss_bilinear(luss_nearest(i, grid, target), inner, grid, low, part);
    luss_bilinear(low, source, inner, first, inner_part); // of the same size: low itself, part 0
    for (int k = 0; k < 2; ++k) {
        const double weight = k ? part : luss_dadd(1, -part);
        int at;
        luss_bilinear(low + k < inner ? low + k : inner - 1, source, inner, at, inner_part);
        const int next = at + 1 < source ? at + 1 : source - 1;
        sum[at - first] = luss_dadd(sum[at - first], luss_dmul(weight, luss_dadd(1, -inner_part)));
        sum[next - first] = luss_dadd(sum[next - first], luss_dmul(weight, inner_part));
    }
    luss_tap tap;
    tap.first = first;
    for (int k = 0; k < 3; ++k) tap.weight[k] = static_cast<float>(sum[k]);
    return tap;
}

LUSS_BOTH float luss_number(float x) { return x; }

/* The pixel's value; x: the number at the first tap of both axes, its rows `row_step` apart. TAPS: 2 for one step, 3 for two. */
template <int TAPS, class T> LUSS_BOTH float luss_enlarged(const T* x, int64_t row_step, const luss_tap& row, const luss_tap& column) {
    float value = 0;
#pragma unroll
    for (int s = 0; s < TAPS; ++s) {
        if (column.weight[s] == 0) continue;
        float down = 0;
#pragma unroll
        for (int t = 0; t < TAPS; ++t)
            if (row.weight[t] != 0) down = luss_fma(row.weight[t], luss_number(x[t * row_step + s]), down);
        value = luss_fma(column.weight[s], down, value);
    }
    return value;
}

/* How far below the best class's smallest number in a cell another class's largest may lie while it can still win a pixel by rounding.
   A value is monotone in each of its numbers, so it lies between those of constant maps at their smallest and largest; that of a constant map c
   is c (1 + d), |d| < 8.1 u: per axis one rounding of the weights and at most three of the sums, u = 2^-24. Classes beyond
   2 * 8.1 u |best| (1 + ..) apart cannot change places; twice that is granted, and 1e-36 for numbers that a GPU flushes to 0. */
LUSS_BOTH float luss_least_top(float best_low) {
    const float size = best_low < 0 ? -best_low : best_low;
    return luss_add(luss_add(best_low, -luss_mul(size, 1.9073486328125e-6f)), -1e-36f); // 2^-19 = 32 u
}

LUSS_BOTH uint32_t luss_size_bits(float x) { // of |x|: ordered as numbers, NaN largest
    union {
        float value;
        uint32_t bits;
    } both;
    both.value = x;
    return both.bits & 0x7fffffffu;
}
constexpr uint32_t LUSS_INFINITY_BITS = 0x7f800000u;

/* Whether a later class takes a pixel from the best so far: larger, or the first NaN, which counts as larger than every number. */
LUSS_BOTH bool luss_takes(float value, float best) {
    const bool nan = luss_size_bits(value) > LUSS_INFINITY_BITS, best_nan = luss_size_bits(best) > LUSS_INFINITY_BITS;
    return nan ? !best_nan : !best_nan && value > best;
}
