/* Attention-weighted mean of a map enlarged four times, and its gradients (spec/sampass.md 6.3 K1).                  hot path P1
   out[n, c] = 1/P sum over p of v[n, c, p] sigmoid(logits[n, c, p] + threshold[c]);  v = u / norms, or u where norms is null,
   u = bilinear enlargement (pixel_norms.cuh) of features.  P = 16 h w.
   features (n, c, h, w), logits (n, c, 4h, 4w), threshold (c,), norms (n, 4h, 4w), out and gradient (n, c); all float32, 16-byte aligned;
   (n c) / 8 < 2^31.
   d_logits[n, c, p] = g v s (1 - s), g = gradient / P;  d_threshold[c] = sum over n, p of it;
   d_features = transpose of the enlargement of g s / norm - t u,  t[n, p] = sum over c of g s u / norm^3 (0 where norm is the least one).
   Least traffic: forward 4 P a plane (logits), backward 8 P; features are 1/16 of that, norms 1/c. This version moves no more from memory
   where c planes of features stay in L2. Operations a pixel forward: about 16, of them 2 of the special units (exp, 1/x).  On sm_75 a warp of
   32 lanes takes 128 pixels: 1 + 1 loads of 16 bytes a lane and 6 of 4 that hit L1, about 70 instructions for 512 bytes of logits; 4 schedulers
   issue them in some 18 cycles, while 1/68 of 616 GB/s needs 84: bound by memory.
   A warp per plane, sums by a fixed tree of shuffles, the threshold's over images in order: no atomics, same input, same bits.
   Features' gradient: each source gathers its 8 x 8 pixels and computes their sigmoids again, four times in all: the encoder below it is
   frozen in stage 2.1, so this path is not the hot one.
   Versions: v1, this one. Not timed: no GPU at hand. sm_75 and later; shared memory 4 KB (t alone). At most 64 registers, no spills for sm_75, 80,
   86, 90 (nvcc 13, --use_fast_math). */
#pragma once
#include "luss/pixel_norms.cuh"
#include "luss/warp_sum.cuh"

namespace luss {

constexpr int POOL_WARPS = 8; // planes of a block

/* 1 / norm of a quad; ones where there are none. */
__device__ __forceinline__ quad inverse_norms(const float* norms, int64_t at) {
    if (norms == nullptr) return quad{{1, 1, 1, 1}};
    quad q = load_quad(norms + at);
    for (int i = 0; i < 4; ++i) q.v[i] = 1.0f / q.v[i];
    return q;
}

__global__ void __launch_bounds__(32 * POOL_WARPS) attention_pool_kernel(const float* __restrict__ features, const float* __restrict__ logits,
                                                                       const float* __restrict__ threshold, const float* __restrict__ norms,
                                                                       int64_t planes, int c, int h, int w, float* __restrict__ out) {
    const int64_t plane = static_cast<int64_t>(blockIdx.x) * POOL_WARPS + threadIdx.y;
    if (plane >= planes) return; // the whole warp
    const int quads = 4 * h * w;
    const int64_t pixels = 4 * static_cast<int64_t>(quads), image = plane / c;
    const float* source = features + plane * (quads / 4);
    const float* z = logits + plane * pixels;
    const float shift = threshold[plane % c];
    float total = 0.0f;
    for (int number = threadIdx.x; number < quads; number += 32) {
        const quad u = quad_taps::of(number, h, w).value(source), x = load_quad(z + 4 * static_cast<int64_t>(number));
        const quad over = inverse_norms(norms, image * pixels + 4 * static_cast<int64_t>(number));
        for (int i = 0; i < 4; ++i) total += u.v[i] * over.v[i] * logistic(x.v[i] + shift).value;
    }
    total = warp_sum(total);
    if (threadIdx.x == 0) out[plane] = total / static_cast<float>(pixels);
}

/* d_logits, and of each plane its share (n, c) of the threshold's gradient. */
__global__ void __launch_bounds__(32 * POOL_WARPS) logits_gradient_kernel(const float* __restrict__ features, const float* __restrict__ logits,
                                                                        const float* __restrict__ threshold, const float* __restrict__ norms,
                                                                        const float* __restrict__ gradient, int64_t planes, int c, int h, int w,
                                                                        float* __restrict__ d_logits, float* __restrict__ shares) {
    const int64_t plane = static_cast<int64_t>(blockIdx.x) * POOL_WARPS + threadIdx.y;
    if (plane >= planes) return;
    const int quads = 4 * h * w;
    const int64_t pixels = 4 * static_cast<int64_t>(quads), image = plane / c;
    const float* source = features + plane * (quads / 4);
    const float shift = threshold[plane % c], g = gradient[plane] / static_cast<float>(pixels);
    float total = 0.0f;
    for (int number = threadIdx.x; number < quads; number += 32) {
        const int64_t at = 4 * static_cast<int64_t>(number);
        const quad u = quad_taps::of(number, h, w).value(source), x = load_quad(logits + plane * pixels + at);
        const quad over = inverse_norms(norms, image * pixels + at);
        quad d;
        for (int i = 0; i < 4; ++i) {
            d.v[i] = g * u.v[i] * over.v[i] * logistic(x.v[i] + shift).slope;
            total += d.v[i];
        }
        store_quad(d_logits + plane * pixels + at, d);
    }
    total = warp_sum(total);
    if (threadIdx.x == 0) shares[plane] = total;
}

__global__ void __launch_bounds__(128) threshold_gradient_kernel(const float* __restrict__ shares, int64_t n, int c,
                                                               float* __restrict__ d_threshold) {
    const int channel = blockIdx.x * 128 + threadIdx.x;
    if (channel >= c) return;
    float total = 0.0f;
    for (int64_t image = 0; image < n; ++image) total += shares[image * c + channel];
    d_threshold[channel] = total;
}

/* t (n, 4h, 4w): what every channel of a pixel loses through its norm. */
__global__ void __launch_bounds__(NORM_QUADS * NORM_SLICES) norm_shares_kernel(const float* __restrict__ features, const float* __restrict__ logits,
                                                                             const float* __restrict__ threshold, const float* __restrict__ norms,
                                                                             const float* __restrict__ gradient, int c, int h, int w, int tiles,
                                                                             float* __restrict__ t) {
    __shared__ quad shared[NORM_SLICES][NORM_QUADS];
    const int64_t image = blockIdx.x / tiles;
    const int number = blockIdx.x % tiles * NORM_QUADS + threadIdx.x, quads = 4 * h * w;
    const int64_t pixels = 4 * static_cast<int64_t>(quads), at = 4 * static_cast<int64_t>(number);
    quad total = {{0, 0, 0, 0}};
    if (number < quads) {
        const quad_taps taps = quad_taps::of(number, h, w);
        const quad over = inverse_norms(norms, image * pixels + at);
        for (int channel = threadIdx.y; channel < c; channel += NORM_SLICES) {
            const int64_t plane = image * c + channel;
            const float g = gradient[plane] / static_cast<float>(pixels), shift = threshold[channel];
            const quad u = taps.value(features + plane * (quads / 4)), x = load_quad(logits + plane * pixels + at);
            for (int i = 0; i < 4; ++i) total.v[i] += g * (u.v[i] * over.v[i]) * over.v[i] * over.v[i] * logistic(x.v[i] + shift).value;
        }
    }
    total = sum_slices(shared, total);
    if (threadIdx.y != 0 || number >= quads) return;
    const quad norm = load_quad(norms + image * pixels + at);
    for (int i = 0; i < 4; ++i)
        if (norm.v[i] <= LEAST_NORM) total.v[i] = 0.0f; // there the norm is a constant
    store_quad(t + image * pixels + at, total);
}

/* A thread per source; t null where norms is. */
__global__ void __launch_bounds__(128) features_gradient_kernel(const float* __restrict__ features, const float* __restrict__ logits,
                                                              const float* __restrict__ threshold, const float* __restrict__ norms,
                                                              const float* __restrict__ gradient, const float* __restrict__ t, int64_t sources, int c,
                                                              int h, int w, float* __restrict__ d_features) {
    const int64_t source = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x, small = static_cast<int64_t>(h) * w, pixels = 16 * small;
    if (source >= sources) return;
    const int64_t plane = source / small, image = plane / c;
    const int row = static_cast<int>(source % small) / w, column = static_cast<int>(source % small) % w;
    const float g = gradient[plane] / static_cast<float>(pixels), shift = threshold[plane % c];
    float total = 0.0f;
    for (int y = row > 0 ? 4 * row - 2 : 0; y < 4 * row + 6 && y < 4 * h; ++y) {
        float line = 0.0f;
        for (int q = column > 0 ? column - 1 : 0; q <= column + 1 && q < w; ++q) {
            const int number = y * w + q;
            const int64_t at = 4 * static_cast<int64_t>(number);
            const quad u = quad_taps::of(number, h, w).value(features + plane * small), x = load_quad(logits + plane * pixels + at);
            const quad over = inverse_norms(norms, image * pixels + at);
            const quad lost = t == nullptr ? quad{{0, 0, 0, 0}} : load_quad(t + image * pixels + at);
            for (int i = 0; i < 4; ++i) {
                const float weight = enlarge4_weight(4 * q + i, column, w);
                if (weight > 0.0f) line += weight * (g * logistic(x.v[i] + shift).value * over.v[i] - lost.v[i] * u.v[i]);
            }
        }
        total += enlarge4_weight(y, row, h) * line;
    }
    d_features[source] = total;
}

/* On `stream`; nothing waits. norms may be null; n and c may be 0. Returns the launch's error. */
inline cudaError_t attention_pool(const float* features, const float* logits, const float* threshold, const float* norms, int64_t n, int c, int h,
                                  int w, float* out, cudaStream_t stream) {
    const int64_t planes = n * c;
    if (planes == 0) return cudaSuccess;
    const dim3 grid(static_cast<unsigned>((planes + POOL_WARPS - 1) / POOL_WARPS)), block(32, POOL_WARPS);
    LUSS_LAUNCH(attention_pool_kernel, grid, block, 0, stream, features, logits, threshold, norms, planes, c, h, w, out);
    return cudaGetLastError();
}

/* As above. d_features may be null: then it is not computed. Scratch: shares (n, c); t (n, 4h, 4w), used where d_features and norms are given. */
inline cudaError_t attention_pool_grad(const float* features, const float* logits, const float* threshold, const float* norms, const float* gradient,
                                       int64_t n, int c, int h, int w, float* d_logits, float* d_threshold, float* d_features, float* shares,
                                       float* t, cudaStream_t stream) {
    const int64_t planes = n * c, sources = planes * h * w;
    if (c == 0) return cudaSuccess;
    if (planes > 0) {
        const dim3 grid(static_cast<unsigned>((planes + POOL_WARPS - 1) / POOL_WARPS)), block(32, POOL_WARPS);
        LUSS_LAUNCH(logits_gradient_kernel, grid, block, 0, stream, features, logits, threshold, norms, gradient, planes, c, h, w, d_logits, shares);
    }
    LUSS_LAUNCH(threshold_gradient_kernel, dim3((c + 127) / 128), dim3(128), 0, stream, shares, n, c, d_threshold);
    if (d_features == nullptr || planes == 0) return cudaGetLastError();
    if (norms != nullptr) {
        const int tiles = (4 * h * w + NORM_QUADS - 1) / NORM_QUADS;
        const dim3 grid(static_cast<unsigned>(n * tiles)), block(NORM_QUADS, NORM_SLICES);
        LUSS_LAUNCH(norm_shares_kernel, grid, block, 0, stream, features, logits, threshold, norms, gradient, c, h, w, tiles, t);
    }
    const float* lost = norms == nullptr ? nullptr : t;
    LUSS_LAUNCH(features_gradient_kernel, dim3(static_cast<unsigned>((sources + 127) / 128)), dim3(128), 0, stream, features, logits, threshold,
                norms, gradient, lost, sources, c, h, w, d_features);
    return cudaGetLastError();
}

} // namespace luss
