/* What nearest_centroid needs to know of rows and centroids before it multiplies: biases, copies in fp16, norms for the rounding bound.
   Traffic: 4 r k d read and 2 r k d written for centroids; for rows that are not fp16 with d a multiple of 8, 4 n d read and 2 n dp written. */
#pragma once
#include <cstdint>

#include "luss/mma.h"
#include "luss/number.cuh"
#include "luss/warp_sum.cuh"

namespace luss {

constexpr int PREPARE_WARPS = 4;

/* c (r, k, d). bias (r, kp): -|c|^2 / 2, or 0 for `cosine`; -inf for k..kp - 1. If `halves`: halves (r, kp, dp) c rounded to fp16, filled up
   with zeros, and norms (r, 2), zeroed before: bits of the largest |c| and |c - halves|, rounded up; a NaN row does not count. A warp a row. */
__global__ void __launch_bounds__(32 * PREPARE_WARPS) prepare_centroids_kernel(const float* __restrict__ c, int k, int d, int kp, int dp, int cosine,
                                                                             int64_t count, float* __restrict__ bias, __half* __restrict__ halves,
                                                                             uint32_t* __restrict__ norms) {
    const int lane = threadIdx.x % 32;
    const int64_t row = static_cast<int64_t>(blockIdx.x) * PREPARE_WARPS + threadIdx.x / 32; // of r * kp
    if (row >= count) return;
    const int64_t restart = row / kp;
    const int id = static_cast<int>(row % kp);
    const float* from = c + (restart * k + id) * d;
    double square = 0, error = 0; // in fp64: a negligible number of terms, and a bias that is rounded once
    for (int i = lane; i < (halves ? dp : d); i += 32) {
        const float value = id < k && i < d ? from[i] : 0.0f;
        square += static_cast<double>(value) * value;
        if (halves) {
            const __half rounded = __float2half_rn(value);
            halves[row * dp + i] = rounded;
            const double off = static_cast<double>(value) - __half2float(rounded);
            error += off * off;
        }
    }
    square = warp_sum(square);
    error = warp_sum(error);
    if (lane != 0) return;
    bias[row] = id >= k ? -INFINITY : cosine ? 0.0f : static_cast<float>(-0.5 * square);
    if (!halves) return;
    const float norm = static_cast<float>(sqrt(square)) * 1.000001f, off = static_cast<float>(sqrt(error)) * 1.000001f;
    if (norm == norm) atomicMax(norms + 2 * restart, __float_as_uint(norm)); // bits of numbers >= 0 are ordered as the numbers
    if (off == off) atomicMax(norms + 2 * restart + 1, __float_as_uint(off));
}

/* x (n, d) to halves (n, dp), filled up with zeros, and error (n,) >= |x - halves| of every row (0 where x is fp16). A warp a row. */
template <class X>
__global__ void __launch_bounds__(32 * PREPARE_WARPS) prepare_rows_kernel(const X* __restrict__ x, int64_t n, int d, int dp,
                                                                        __half* __restrict__ halves, float* __restrict__ error) {
    const int lane = threadIdx.x % 32;
    const int64_t row = static_cast<int64_t>(blockIdx.x) * PREPARE_WARPS + threadIdx.x / 32;
    if (row >= n) return;
    float square = 0;
    for (int i = 2 * lane; i < dp; i += 64) {
        const float first = i < d ? as_float(x[row * d + i]) : 0.0f, second = i + 1 < d ? as_float(x[row * d + i + 1]) : 0.0f;
        const __half2 rounded = __floats2half2_rn(first, second);
        *reinterpret_cast<__half2*>(halves + row * dp + i) = rounded;
        const float off = first - __low2float(rounded), next = second - __high2float(rounded);
        square += off * off + next * next;
    }
    square = warp_sum(square);
    if (lane == 0) error[row] = sqrtf(square);
}

/* By how much two scores <x, c> - |c|^2 / 2 of one row and one centroid can differ, that of the tensor cores and that of the fp32 mode.
   With x_h, c_h the fp16 roundings, u = 2^-24 and, by Cauchy and Schwarz, sum |x_i c_i| <= |x| |c|:
     rounding     |<x, c> - <x_h, c_h>| = |<x - x_h, c> + <x_h, c - c_h>| <= |x - x_h| |c| + |x_h| |c - c_h|
     tensor core  b >= 4 products are added at once, each and the old sum cut off at 2 u of the largest, the result at 2 u of itself:
                  (b + 1) 2 u |x_h| |c_h| a step, d / b steps: at most 2.5 d u |x_h| |c_h|; counted as 3 d u
     fp32         d fused multiply-adds, each rounded by u of a partial sum: d u |x| |c|
     bias         added last, one rounding in either mode: 2 u (|x| |c| + |c|^2 / 2)
   so eps = |x - x_h| C + |x_h| E + (4 d + 4) u (|x_h| + |x - x_h|) (C + E) + 2 u C^2 with C = max |c|, E = max |c - c_h| of the restart.
   1.001 covers the second-order terms (d u < 2e-4), the rounding of the norms' own sums (d / 4 + 5 terms, below 4e-5) and of the
   comparison; 2^-60 added to norms covers squares that underflow (d 2^-126 at most, flushed to 0 under --use_fast_math), and 2^-110 the
   d products and sums that are flushed. Infinite or NaN for rows or centroids that are: such rows are decided again, too.
   `square`: |x_h|^2 as summed;  `error`: |x - x_h| as summed;  cosine: no bias. */
__device__ __forceinline__ float score_error_bound(float square, float error, float largest, float largest_error, int d, int cosine) {
    const float tiny = 8.7e-19f, unit = 5.9604645e-8f; // 2^-60, 2^-24
    const float x = sqrtf(square) * 1.0001f + tiny, off = error * 1.0001f + (error > 0.0f ? tiny : 0.0f);
    const float c = largest + tiny, c_off = largest_error + tiny;
    const float rounding = off * c + x * c_off, sums = static_cast<float>(4 * d + 4) * unit * (x + off) * (c + c_off);
    return 1.001f * (rounding + sums + (cosine ? 0.0f : 2.0f * unit * c * c)) + 7.8e-34f;
}

} // namespace luss
