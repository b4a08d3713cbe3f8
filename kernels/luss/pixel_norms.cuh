/* Length over channels of each pixel of a map enlarged four times, and reductions that the attention's kernels share.    hot path P1
   norms[n, p] = max(|u[n, :, p]|, 1e-12), u = bilinear enlargement of features (n, c, h, w) float32; norms (n, 4h, 4w) float32.
   The squares of the enlarged values are added, not inner products of neighbours, whose difference cancels where neighbours point apart.
   Least traffic: 4 c h w read, 64 h w written. Least work: 2 operations a channel and pixel. This version: 8.5 operations (6 for 3 columns, 8
   for 4 rows, 8 for the squares, by 4) and 1.5 loads from L1 a channel and pixel, none of which goes past L2. Sums: each of 16 slices of the
   channels in order, then the slices in order, so at most (c / 16 + 16) 2^-24 relative error. No atomics: same input, same bits. Gradient:
   none here, attention_pool.cuh has it.
   Versions: v1, this one. Not timed: no GPU at hand. sm_75 and later; 4 KB of static shared memory; 48 to 59
   registers, no spills. */
#pragma once
#include "luss/enlarge4.h"
#include "luss/launch.h"
#include "luss/least_norm.h"

namespace luss {

constexpr int NORM_QUADS = 16, NORM_SLICES = 16; // a block: 64 pixels, 16 threads each for their channels

__device__ __forceinline__ quad load_quad(const float* at) {
    const float4 four = *reinterpret_cast<const float4*>(at);
    return quad{{four.x, four.y, four.z, four.w}};
}
__device__ __forceinline__ void store_quad(float* at, const quad& q) { *reinterpret_cast<float4*>(at) = make_float4(q.v[0], q.v[1], q.v[2], q.v[3]); }

/* Sum over the 16 slices, in order; the answer is slice 0's. */
__device__ __forceinline__ quad sum_slices(quad (&shared)[NORM_SLICES][NORM_QUADS], const quad& own) {
    shared[threadIdx.y][threadIdx.x] = own;
    __syncthreads();
    quad total = own;
    if (threadIdx.y == 0)
        for (int slice = 1; slice < NORM_SLICES; ++slice)
            for (int i = 0; i < 4; ++i) total.v[i] += shared[slice][threadIdx.x].v[i];
    return total;
}

__global__ void __launch_bounds__(NORM_QUADS * NORM_SLICES) pixel_norms_kernel(const float* __restrict__ features, int c, int h, int w, int tiles,
                                                                             int inverse, float* __restrict__ norms) {
    __shared__ quad shared[NORM_SLICES][NORM_QUADS];
    const int64_t image = blockIdx.x / tiles, small = static_cast<int64_t>(h) * w;
    const int number = blockIdx.x % tiles * NORM_QUADS + threadIdx.x, quads = 4 * h * w;
    quad total = {{0, 0, 0, 0}};
    if (number < quads) {
        const quad_taps taps = quad_taps::of(number, h, w);
        const float* plane = features + (image * c + threadIdx.y) * small;
        for (int channel = threadIdx.y; channel < c; channel += NORM_SLICES, plane += NORM_SLICES * small) {
            const quad u = taps.value(plane);
            for (int i = 0; i < 4; ++i) total.v[i] += u.v[i] * u.v[i];
        }
    }
    total = sum_slices(shared, total);
    if (threadIdx.y != 0 || number >= quads) return;
    for (int i = 0; i < 4; ++i) {
        const float norm = total.v[i] < LEAST_NORM * LEAST_NORM ? LEAST_NORM : sqrtf(total.v[i]); // NaN stays NaN
        total.v[i] = inverse ? 1.0f / norm : norm;
    }
    store_quad(norms + (image * quads + number) * 4, total);
}

/* On `stream`; nothing waits. inverse: 1 for 1 / norms. n may be 0. Returns the launch's error. */
inline cudaError_t pixel_norms(const float* features, int64_t n, int c, int h, int w, float* norms, cudaStream_t stream, int inverse = 0) {
    if (n == 0) return cudaSuccess;
    const int tiles = (4 * h * w + NORM_QUADS - 1) / NORM_QUADS;
    const dim3 grid(static_cast<unsigned>(n * tiles)), block(NORM_QUADS, NORM_SLICES);
    LUSS_LAUNCH(pixel_norms_kernel, grid, block, 0, stream, features, c, h, w, tiles, inverse, norms);
    return cudaGetLastError();
}

/* The logistic function and its derivative from exp(-|x|), which neither overflows nor cancels. NaN stays NaN. With --use_fast_math the relative
   error is at most about (3 + |x| / 2) 2^-23, as exp is then 2^(x log2 e) with a rounded product. */
struct logistic {
    float value, slope;
    __device__ explicit logistic(float x) {
        const float e = expf(x < 0.0f ? x : -x), over = 1.0f / (1.0f + e);
        value = x < 0.0f ? e * over : over;
        slope = e * over * over;
    }
};

} // namespace luss
