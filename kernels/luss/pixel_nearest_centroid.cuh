/* Cluster of each pixel at image size from features, centroids and attention.                            hot path K2; spec/pass.md 6, sampass.md 6.3
   features (n, depth, h, w) float32 or float16;  unit (classes, depth) float32: centroids of length 1;  scores (n, classes, h, w): scratch;
   plans, attention, taps, out: as for upsample_argmax (luss/upsample_argmax.cuh), grid 4h x 4w, first_id 1.  Nothing is checked here.
   label = 1 + argmax_k <u, unit_k>, u the enlarged features: the norm of u does not matter, and <U f, c> = U <f, c>, so the product runs on the
   small map.  Products are added by fused multiply-adds in runs of LUSS_SCORE_RUN, as on the CPU: the same bits.  Gradient: none.

   Least operations: 2 classes depth h w, 919 x 512 x 88: 83 MFLOP = 6.2 us at 13.4 TFLOP/s; least traffic: features, centroids
   once, out: 0.18 + 1.9 (shared by a batch) + 0.75 MB. Moved besides: the scores, 0.32 MB, written and read through L2.
   Versions: v1, this one: tiles of 64 centroids x 64 pixels, 4 x 4 a thread; two 16-byte reads of shared memory for 16 multiply-adds, 3
   wavefronts for 8 cycles of arithmetic on sm_75, so arithmetic is the limit, at about 2/3 of its peak by this count (loads are not overlapped
   inside a block; 3 blocks an SM overlap). 30 blocks an image at 919 x 88: batches of 7 fill 68 SMs three times. Not timed, no GPU at hand.
   sm_75 and later; 8.7 KB static shared memory; 80 registers, so that 3 blocks fit an SM; 20 to 36 bytes of spills outside the inner loop
   before sm_90. */
#pragma once
#include "luss/upsample_argmax.cuh"

namespace luss {

constexpr int PIXEL_SCORE_TILE = 64, PIXEL_SCORE_DEPTH = 16, PIXEL_SCORE_PITCH = PIXEL_SCORE_TILE + 4; // the pitch keeps 16-byte reads aligned
static_assert(PIXEL_SCORE_TILE == 64 && PIXEL_SCORE_DEPTH == 16, "256 threads bring 4 numbers each of both factors");
static_assert(LUSS_SCORE_RUN % PIXEL_SCORE_DEPTH == 0, "runs end between two stages");

/* A block: 64 centroids x 64 pixels of one image. */
template <class T>
__global__ void __launch_bounds__(256, 3) centroid_scores_kernel(const T* __restrict__ features, const float* __restrict__ unit, int depth,
                                                                 int pixels, int classes, int pixel_tiles, int class_tiles,
                                                                 float* __restrict__ scores) {
    alignas(16) __shared__ float a[PIXEL_SCORE_DEPTH][PIXEL_SCORE_PITCH]; // centroids
    alignas(16) __shared__ float b[PIXEL_SCORE_DEPTH][PIXEL_SCORE_PITCH]; // features
    const int thread = threadIdx.x, x = thread % 16 * 4, y = thread / 16 * 4;
    const int tile = blockIdx.x % (pixel_tiles * class_tiles);
    const int64_t image = blockIdx.x / (pixel_tiles * class_tiles);
    const int first_pixel = tile % pixel_tiles * PIXEL_SCORE_TILE, first_class = tile / pixel_tiles * PIXEL_SCORE_TILE;
    // What this thread brings: features of one pixel, 4 steps of the depth apart; of 4 centroids, 16 rows apart, one step of the depth
    const int p = thread / PIXEL_SCORE_TILE, column = thread % PIXEL_SCORE_TILE, q = thread % PIXEL_SCORE_DEPTH, row = thread / PIXEL_SCORE_DEPTH;
    const T* from = features + (image * depth + p) * pixels + first_pixel + column;
    const float* known = unit + static_cast<int64_t>(first_class + row) * depth + q;
    const bool pixel_inside = first_pixel + column < pixels;
    const int64_t row_step = static_cast<int64_t>(pixels) * 4, known_step = static_cast<int64_t>(depth) * 16;
    float sum[4][4], run[4][4];
#pragma unroll
    for (int i = 0; i < 16; ++i) sum[i / 4][i % 4] = run[i / 4][i % 4] = 0;
    for (int start = 0; start < depth; start += PIXEL_SCORE_DEPTH) {
#pragma unroll
        for (int i = 0; i < 4; ++i, from += row_step) b[p + 4 * i][column] = pixel_inside && start + p + 4 * i < depth ? as_float(*from) : 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const bool inside = start + q < depth && first_class + row + 16 * i < classes;
            a[q][row + 16 * i] = inside ? known[i * known_step] : 0;
        }
        known += PIXEL_SCORE_DEPTH;
        __syncthreads();
        const int steps = depth - start < PIXEL_SCORE_DEPTH ? depth - start : PIXEL_SCORE_DEPTH;
#pragma unroll 2
        for (int k = 0; k < steps; ++k) {
            const float down[4] = {a[k][y], a[k][y + 1], a[k][y + 2], a[k][y + 3]}; // one 16-byte read each
            const float across[4] = {b[k][x], b[k][x + 1], b[k][x + 2], b[k][x + 3]};
#pragma unroll
            for (int i = 0; i < 16; ++i) run[i / 4][i % 4] = luss_fma(down[i / 4], across[i % 4], run[i / 4][i % 4]);
        }
        __syncthreads();
        const int end = start + PIXEL_SCORE_DEPTH;
        if (end % LUSS_SCORE_RUN == 0 || end >= depth) {
#pragma unroll
            for (int i = 0; i < 16; ++i) {
                sum[i / 4][i % 4] = end <= LUSS_SCORE_RUN ? run[i / 4][i % 4] : luss_add(sum[i / 4][i % 4], run[i / 4][i % 4]);
                run[i / 4][i % 4] = 0;
            }
        }
    }
    float* to = scores + (image * classes + first_class + y) * pixels + first_pixel + x;
#pragma unroll
    for (int i = 0; i < 4; ++i, to += pixels)
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (first_class + y + i < classes && first_pixel + x + j < pixels) to[j] = sum[i][j];
}

/* All launches on `stream`; nothing waits. T: float or __half; task.classes: of centroids, task in the host's memory; n may be 0. */
template <class T>
inline cudaError_t pixel_nearest_centroid(const T* features, const float* unit, int depth, const luss_label_task& task, const luss_label_plan* plans,
                                          const float* attention, float* scores, luss_tap* taps, int32_t* out, cudaStream_t stream) {
    const int pixels = task.height * task.width;
    const int pixel_tiles = (pixels + PIXEL_SCORE_TILE - 1) / PIXEL_SCORE_TILE;
    const int class_tiles = (task.classes + PIXEL_SCORE_TILE - 1) / PIXEL_SCORE_TILE;
    const int64_t tiles = static_cast<int64_t>(pixel_tiles) * class_tiles, at_once = LABEL_CHUNK / tiles > 1 ? LABEL_CHUNK / tiles : 1;
    for (int64_t first = 0; first < task.n; first += at_once) {
        const int64_t images = task.n - first < at_once ? task.n - first : at_once;
        LUSS_LAUNCH(centroid_scores_kernel<T>, dim3(static_cast<unsigned>(images * tiles)), dim3(256), 0, stream,
                    features + first * depth * pixels, unit, depth, pixels, task.classes, pixel_tiles, class_tiles,
                    scores + first * task.classes * pixels);
        const cudaError_t error = cudaGetLastError();
        if (error != cudaSuccess) return error;
    }
    return upsample_argmax(static_cast<const float*>(scores), task, plans, attention, taps, out, stream);
}

} // namespace luss
