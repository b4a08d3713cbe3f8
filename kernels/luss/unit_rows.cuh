/* Rows of unit length, and their squared lengths: what k-means reads (spec/pass.md 5: v / (|v| + 1e-8)).
   x (n, d) fp16 or fp32;  out (n, d) fp32, null for none, or x itself where that is fp32;  squares (n,) fp64: of `out`, or of x where out is null.
   n may be 0; d from 1. A zero row gives zeros. A row with NaN or infinity gives squares that are NaN or infinite. Gradient: none.

   The CPU path's bits (engine/ops/unit_rows.cc), whatever the grid: a warp has a row, lane i adds the squares of numbers i, i + 32, ... in fp64,
   where they are exact, and warp_sum pairs lanes as the CPU pairs its 32 sums; root, quotient, product and the one rounding to fp32 are IEEE's.
   Only numbers below 2^-126 may differ, which --use_fast_math, a flag of Jittor's, takes for 0.
   Why not Jittor's own reductions: cut over many threads they add with atomics, in whatever order, and a row's bits would not be its own.

   Least traffic, and what is moved: n d words and 4 n d + 8 n. A lane keeps its numbers between the two passes up to d = 2048 (KEPT), beyond that the
   second pass reads them again, from L2 where that holds the rows of all warps on the card (d up to some 4096). Six operations of fp64's rate a
   number (three conversions, two additions of squares, the product): on GeForce, with 2 of them a cycle and SM, 35 G numbers a second on the
   2080 Ti, where memory brings 103 G in fp16; on sm_80 and sm_90 memory is the limit. 1.18 M x 2048 take 70 ms on a 2080 Ti: 6 % of the products of
   one step of 30 restarts, K = 919. Versions: v1, this one; not timed: no GPU was at hand. sm_75 and later; no shared memory; registers 58 up to
   d = 512, 154 up to 2048, 44 beyond, none spilled (held to 102 registers, for 20 warps an SM, the second spills). */
#pragma once
#include <cstdint>

#include "luss/number.cuh"
#include "luss/unit_rows.h"
#include "luss/warp_sum.cuh"

namespace luss {

constexpr int UNIT_ROWS_WARPS = 4; // of a block, a row each

__device__ __forceinline__ double square_of(float x) { return static_cast<double>(x) * static_cast<double>(x); }

/* KEPT numbers a lane stay in registers: d <= 32 KEPT; 0: none do. */
template <int KEPT, class T>
__global__ void __launch_bounds__(32 * UNIT_ROWS_WARPS) unit_rows_kernel(const T* x, int64_t n, int d, float* out, double* squares) {
    const int lane = threadIdx.x % 32;
    const int64_t step = static_cast<int64_t>(gridDim.x) * UNIT_ROWS_WARPS;
    for (int64_t row = static_cast<int64_t>(blockIdx.x) * UNIT_ROWS_WARPS + threadIdx.x / 32; row < n; row += step) {
        const T* from = x + row * d;
        float kept[KEPT > 0 ? KEPT : 1];
        double sum = 0;
        if (KEPT > 0) {
#pragma unroll
            for (int i = 0; i < KEPT; ++i) kept[i] = 32 * i + lane < d ? as_float(from[32 * i + lane]) : 0.0f;
#pragma unroll
            for (int i = 0; i < KEPT; ++i)
                if (32 * i < d) sum += square_of(kept[i]);
        } else {
            for (int p = lane; p < d; p += 32) sum += square_of(as_float(from[p]));
        }
        sum = warp_sum(sum);
        if (out != nullptr) {
            const double scale = unit_row_scale(sum);
            float* to = out + row * d;
            sum = 0;
            if (KEPT > 0) {
#pragma unroll
                for (int i = 0; i < KEPT; ++i)
                    if (32 * i < d) {
                        const float unit = static_cast<float>(luss_mul(static_cast<double>(kept[i]), scale));
                        if (32 * i + lane < d) to[32 * i + lane] = unit, sum += square_of(unit);
                    }
            } else {
                for (int p = lane; p < d; p += 32) {
                    const float unit = static_cast<float>(luss_mul(static_cast<double>(as_float(from[p])), scale));
                    to[p] = unit;
                    sum += square_of(unit);
                }
            }
            sum = warp_sum(sum);
        }
        if (lane == 0) squares[row] = sum;
    }
}

template <class T> inline cudaError_t unit_rows_of(const T* x, int64_t n, int d, float* out, double* squares, cudaStream_t stream) {
    const int64_t wanted = (n + UNIT_ROWS_WARPS - 1) / UNIT_ROWS_WARPS;
    const unsigned blocks = static_cast<unsigned>(wanted < 65536 ? wanted : 65536);
    const dim3 block(32 * UNIT_ROWS_WARPS);
    if (d <= 32 * 16)
        LUSS_LAUNCH((unit_rows_kernel<16, T>), dim3(blocks), block, 0, stream, x, n, d, out, squares);
    else if (d <= 32 * 64)
        LUSS_LAUNCH((unit_rows_kernel<64, T>), dim3(blocks), block, 0, stream, x, n, d, out, squares);
    else
        LUSS_LAUNCH((unit_rows_kernel<0, T>), dim3(blocks), block, 0, stream, x, n, d, out, squares);
    return cudaGetLastError();
}

inline cudaError_t unit_rows(const void* x, int x_half, int64_t n, int d, float* out, double* squares, cudaStream_t stream) {
    if (n < 0 || d < 1) return cudaErrorInvalidValue;
    if (n == 0) return cudaSuccess;
    return x_half ? unit_rows_of(static_cast<const __half*>(x), n, d, out, squares, stream)
                  : unit_rows_of(static_cast<const float*>(x), n, d, out, squares, stream);
}

} // namespace luss
