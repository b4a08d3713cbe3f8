/* Decoded images and a crop plan to normalised crops: cut, resize, flip, jitter, grey, blur, normalise.        hot path I1, input
   pixels (bytes,) uint8;  images (m,) luss_image, (height, width, 3) from its offset on;  crops (n,) luss_crop: all on the device.
   out (n, 3, h, w) float32 or float16 = value * scale[c] + shift[c], value a whole number 0..255.
   Bit for bit the result of the CPU path (engine/ops/cpu): the same headers, every operation rounded once, integer sums. Nothing is
   checked here; the caller has checked that boxes lie in their images, images in the buffer, blur <= 8.  Gradient: none.
   Assumed: boxes of up to about 3000 pixels (up to MAX_TAPS taps an axis are kept; more are right, and slow), n * tiles < 2^31.

   Least traffic: the box once, 3 bw bh bytes, and the result, 12 h w (fp16: 6 h w). Moved besides: 8-bit planes between the launches,
   3 h w written and 3 h w (1 + halo) read, mostly from the second-level cache. 224 x 224 from 300 x 300, fp32: 0.87 MB least, 1.17 MB moved.
   Versions: v1, this one. Launch 1: a thread per result pixel gathers its taps through L1 (2 x 2 to 4 x 4 at usual scales); a separable
   first pass in shared memory would save reads of L1, which is not what limits it by this count. Not timed: no GPU was at hand.
   Two launches, since contrast needs the mean of the whole crop. sm_75 and later; static shared memory 10 kB, dynamic at most 34 kB. */
#pragma once
#include <cstdint>

#include "luss/blur_taps.h"
#include "luss/launch.h"
#include "luss/pixel_colour.h"
#include "luss/resize_taps.h"
#ifndef LUSS_CUDA_ON_CPU
#include <cuda_fp16.h>
#endif

namespace luss {

struct channels {
    float scale[3], shift[3];
};

constexpr int CROP_TILE = 32, CROP_ROWS = 8; // result pixels of a block of launch 1: 32 x 8; of launch 2: 32 x 32
constexpr int MAX_TAPS = 64;                 // kept in shared memory per row or column

/* Taps of `count` rows or columns of a tile, made by as many threads. */
template <int COUNT> struct tile_taps {
    int first[COUNT], last[COUNT];
    float sum[COUNT];
    float weight[COUNT * MAX_TAPS];

    __device__ void make(const luss_axis& axis, int slot, int i) {
        luss_tap_range(axis, i, first[slot], last[slot]);
        sum[slot] = luss_weight_sum(axis, i, first[slot], last[slot]);
        for (int k = 0; k < last[slot] - first[slot] && k < MAX_TAPS; ++k) weight[slot * MAX_TAPS + k] = fresh(axis, slot, i, k);
    }
    __device__ float fresh(const luss_axis& axis, int slot, int i, int k) const {
        return luss_div(luss_weight(axis, i, first[slot] + k), sum[slot]);
    }
    __device__ float get(const luss_axis& axis, int slot, int i, int k) const {
        return k < MAX_TAPS ? weight[slot * MAX_TAPS + k] : fresh(axis, slot, i, k);
    }
};

/* Launch 1. planes (n, 3, h, w) uint8: the crop before contrast, or before grey where it has no jitter; sums (n,) of its luma, zeroed. */
__global__ void __launch_bounds__(CROP_TILE * CROP_ROWS) crop_resize_kernel(const uint8_t* __restrict__ pixels, const luss_image* __restrict__ images,
                                                                          const luss_crop* __restrict__ crops, int height, int width, int bleed,
                                                                          uint8_t* __restrict__ planes, unsigned long long* __restrict__ sums) {
    __shared__ tile_taps<CROP_TILE> columns;
    __shared__ tile_taps<CROP_ROWS> rows;
    __shared__ luss_axis axes[2];
    __shared__ int partial[CROP_ROWS];
    const int across = (width + CROP_TILE - 1) / CROP_TILE, tiles = across * ((height + CROP_ROWS - 1) / CROP_ROWS);
    const int number = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const int x = tile % across * CROP_TILE + threadIdx.x, y = tile / across * CROP_ROWS + threadIdx.y;
    const luss_crop crop = crops[number];
    const luss_image image = images[crop.image];
    if (threadIdx.x == 0 && threadIdx.y < 2) // once a block: it divides by hand
        axes[threadIdx.y] = threadIdx.y == 0 ? luss_make_axis(crop.left, crop.width, width, image.width, bleed)
                                             : luss_make_axis(crop.top, crop.height, height, image.height, bleed);
    __syncthreads();
    const luss_axis& wide = axes[0];
    const luss_axis& high = axes[1];
    const int source_x = crop.flip ? width - 1 - x : x;
    if (threadIdx.y == 0 && x < width) columns.make(wide, threadIdx.x, source_x);
    const int row = y - static_cast<int>(threadIdx.y) + static_cast<int>(threadIdx.x); // of the tile's rows, made by one warp
    if (threadIdx.y == 1 && threadIdx.x < CROP_ROWS && row < height) rows.make(high, threadIdx.x, row);
    __syncthreads();

    int grey = 0;
    if (x < width && y < height) {
        const int64_t pitch = 3 * static_cast<int64_t>(image.width);
        const int first_row = rows.first[threadIdx.y], row_count = rows.last[threadIdx.y] - first_row;
        const int first_column = columns.first[threadIdx.x], column_count = columns.last[threadIdx.x] - first_column;
        const uint8_t* source = pixels + image.offset + (high.low + first_row) * pitch + 3 * static_cast<int64_t>(wide.low + first_column);
        float value[3] = {0.5f, 0.5f, 0.5f};
        for (int i = 0; i < column_count; ++i) {
            float column[3] = {0, 0, 0};
            for (int k = 0; k < row_count; ++k) {
                const float weight = rows.get(high, threadIdx.y, y, k);
                for (int c = 0; c < 3; ++c) column[c] = luss_add(column[c], luss_mul(weight, static_cast<float>(source[k * pitch + 3 * i + c])));
            }
            const float weight = columns.get(wide, threadIdx.x, source_x, i);
            for (int c = 0; c < 3; ++c) value[c] = luss_add(value[c], luss_mul(weight, column[c]));
        }
        for (int c = 0; c < 3; ++c) value[c] = static_cast<float>(static_cast<int>(value[c] < 255.0f ? value[c] : 255.0f));
        pixel<exact> p = {exact{value[0]}, exact{value[1]}, exact{value[2]}};
        if (crop.order >= 0) {
            const int steps = luss_steps(crop.order), before = steps_before_contrast(steps);
            const float shift = static_cast<float>(luss_hue_shift(crop.hue));
            for (int i = 0; i < before; ++i) colour_step(steps >> 4 * i & 15, p, crop, 0.0f, shift);
            grey = static_cast<int>(luma(p).v);
        }
        const int64_t area = static_cast<int64_t>(height) * width;
        uint8_t* to = planes + 3 * area * number + static_cast<int64_t>(y) * width + x;
        to[0] = static_cast<uint8_t>(p.r.v);
        to[area] = static_cast<uint8_t>(p.g.v);
        to[2 * area] = static_cast<uint8_t>(p.b.v);
    }
    if (crop.order < 0) return; // the whole block
    for (int offset = CROP_TILE / 2; offset > 0; offset /= 2) grey += __shfl_down_sync(0xffffffffu, grey, offset);
    if (threadIdx.x == 0) partial[threadIdx.y] = grey;
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        int total = 0;
        for (int i = 0; i < CROP_ROWS; ++i) total += partial[i];
        atomicAdd(sums + number, static_cast<unsigned long long>(total));
    }
}

__device__ __forceinline__ void put(float* out, float value) { *out = value; }
__device__ __forceinline__ void put(__half* out, float value) { *out = __float2half_rn(value); }

__device__ __forceinline__ int scaled(int value, int weight) { return static_cast<int>(static_cast<unsigned>(value) * static_cast<unsigned>(weight) >> 16); }

/* Bytes of dynamic shared memory of launch 2 where no crop blurs farther than `radius`. */
LUSS_BOTH int finish_shared_bytes(int radius) {
    const int side = CROP_TILE + 2 * radius;
    return 3 * CROP_TILE * side * 2 + 3 * side * side;
}

/* Launch 2: contrast and what follows it, grey, blur, normalisation. A tile of 32 x 32 with a halo of the blur's radius. */
template <class T>
__global__ void __launch_bounds__(CROP_TILE * CROP_ROWS) crop_finish_kernel(const luss_crop* __restrict__ crops, int height, int width,
                                                                          const uint8_t* __restrict__ planes,
                                                                          const unsigned long long* __restrict__ sums, channels norm,
                                                                          T* __restrict__ out) {
    LUSS_SHARED_BYTES(shared);
    __shared__ int weights[LUSS_BLUR_RADIUS + 1];
    const int across = (width + CROP_TILE - 1) / CROP_TILE, tiles = across * ((height + CROP_TILE - 1) / CROP_TILE);
    const int number = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    const int left = tile % across * CROP_TILE, top = tile / across * CROP_TILE;
    const int thread = threadIdx.y * CROP_TILE + threadIdx.x, threads = CROP_TILE * CROP_ROWS;
    const luss_crop crop = crops[number];
    const bool blurred = crop.blur > 0;
    int radius = 0;
    if (blurred) {
        const box_filter box = make_box(crop.blur);
        radius = blur_radius(box);
        if (thread <= radius) weights[thread] = blur_weight(box, thread);
        __syncthreads();
        while (radius > 0 && weights[radius] == 0) --radius;
    }
    const int side = CROP_TILE + 2 * radius, used = crop.grey ? 1 : 3;
    uint16_t* lines = reinterpret_cast<uint16_t*>(shared);          // (3, 32, side): blurred downwards
    uint8_t* source = shared + 3 * CROP_TILE * side * sizeof(uint16_t); // (3, side, side)

    const int64_t area = static_cast<int64_t>(height) * width;
    const uint8_t* from = planes + 3 * area * number;
    const int steps = crop.order < 0 ? 0 : luss_steps(crop.order), before = crop.order < 0 ? 4 : steps_before_contrast(steps);
    const float mean = crop.order < 0 ? 0.0f : contrast_mean(sums[number], static_cast<unsigned long long>(area));
    const float shift = static_cast<float>(luss_hue_shift(crop.hue));
    for (int at = thread; at < side * side; at += threads) {
        int y = top + at / side - radius, x = left + at % side - radius;
        y = y < 0 ? 0 : y < height ? y : height - 1;
        x = x < 0 ? 0 : x < width ? x : width - 1;
        const uint8_t* p = from + static_cast<int64_t>(y) * width + x;
        pixel<exact> value = {exact{static_cast<float>(p[0])}, exact{static_cast<float>(p[area])}, exact{static_cast<float>(p[2 * area])}};
        for (int i = before; i < 4; ++i) colour_step(steps >> 4 * i & 15, value, crop, mean, shift);
        if (crop.grey) value.r = luma(value);
        source[at] = static_cast<uint8_t>(value.r.v);
        source[side * side + at] = static_cast<uint8_t>(value.g.v);
        source[2 * side * side + at] = static_cast<uint8_t>(value.b.v);
    }
    __syncthreads();

    if (blurred) {
        const int bias = blur_bias(radius);
        for (int at = thread; at < used * CROP_TILE * side; at += threads) {
            const int c = at / (CROP_TILE * side), y = at / side % CROP_TILE, x = at % side;
            const uint8_t* p = source + c * side * side + (y + radius) * side + x;
            int sum = bias + scaled(p[0] << BLUR_FRACTION, weights[0]);
            for (int k = 1; k <= radius; ++k) sum += scaled((p[-k * side] + p[k * side]) << BLUR_FRACTION, weights[k]);
            lines[at] = static_cast<uint16_t>(sum);
        }
        __syncthreads();
    }
    const int x = left + threadIdx.x;
    for (int line = threadIdx.y; line < CROP_TILE; line += CROP_ROWS) {
        const int y = top + line;
        if (x >= width || y >= height) continue;
        T* to = out + 3 * area * number + static_cast<int64_t>(y) * width + x;
        int level = 0;
        for (int c = 0; c < 3; ++c) {
            if (c < used) {
                if (blurred) {
                    const uint16_t* p = lines + (c * CROP_TILE + line) * side + threadIdx.x + radius;
                    int sum = blur_bias(radius) + (1 << (BLUR_FRACTION - 1)) + scaled(p[0], weights[0]);
                    for (int k = 1; k <= radius; ++k) sum += scaled(p[-k] + p[k], weights[k]);
                    level = sum >> BLUR_FRACTION < 255 ? sum >> BLUR_FRACTION : 255;
                } else {
                    level = source[c * side * side + line * side + threadIdx.x];
                }
            }
            put(to + c * area, luss_add(luss_mul(static_cast<float>(level), norm.scale[c]), norm.shift[c]));
        }
    }
}

/* Both launches on `stream`; nothing waits. planes (n, 3, h, w) uint8 and sums (n,) are scratch; T is float or __half; n may be 0.
   largest_blur: the largest crop.blur, 0..8. Returns the first error. */
template <class T>
inline cudaError_t augment_crops(const uint8_t* pixels, const luss_image* images, const luss_crop* crops, int n, int height, int width, int bleed,
                                 float largest_blur, channels norm, uint8_t* planes, unsigned long long* sums, T* out, cudaStream_t stream) {
    if (n == 0) return cudaSuccess;
    const cudaError_t zeroed = cudaMemsetAsync(sums, 0, sizeof(unsigned long long) * n, stream);
    if (zeroed != cudaSuccess) return zeroed;
    const int across = (width + CROP_TILE - 1) / CROP_TILE;
    const dim3 block(CROP_TILE, CROP_ROWS);
    const dim3 resize_grid(n * across * ((height + CROP_ROWS - 1) / CROP_ROWS)), finish_grid(n * across * ((height + CROP_TILE - 1) / CROP_TILE));
    LUSS_LAUNCH(crop_resize_kernel, resize_grid, block, 0, stream, pixels, images, crops, height, width, bleed, planes, sums);
    const cudaError_t launched = cudaGetLastError();
    if (launched != cudaSuccess) return launched;
    // a little more blur than there is: this is the host's arithmetic, compiled with other options than the card's
    const int radius = largest_blur > 0 ? blur_radius(make_box(largest_blur * 1.0001f)) : 0;
    const int shared_bytes = finish_shared_bytes(radius < LUSS_BLUR_RADIUS ? radius : LUSS_BLUR_RADIUS);
    LUSS_LAUNCH(crop_finish_kernel<T>, finish_grid, block, shared_bytes, stream, crops, height, width, planes, sums, norm, out);
    return cudaGetLastError();
}

} // namespace luss
