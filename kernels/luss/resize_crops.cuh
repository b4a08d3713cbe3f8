/* Whole images resized as Pillow does, to the bit, cut and normalised.                              hot path I1, input of evaluation
   pixels (bytes,) uint8;  images (m,) luss_image, (height, width, 3) from its offset on;  cuts (n,) luss_cut;  axes (n,) luss_cut_axes and
   taps (..) int32 as cut_table.h says: all on the device.  out (n, 3, h, w) float32 or float16 = level * scale[c] + shift[c].
   Whole numbers up to the level, so the same bits as the CPU path (engine/ops/cpu/fixed_resize.h). Nothing is checked here.  Gradient: none.
   The taps come from the host: they need double precision, slow on cards for games, and repeat from image to image.

   Least traffic: the pixels the cut needs once, 3 bw bh bytes, the result, 12 h w (fp16: 6 h w), the taps of each different axis once,
   (8 + 4 taps) a pixel of its length. 224 x 224 of 500 x 375 resized to 341 x 256, fp32: 3 * 331 * 331 + 12 * 224 * 224 + 9 kB = 0.94 MB.
   Moved besides: the halo of a tile, 2 x scale rows for 32 x scale, read again mostly from the second-level cache.
   Versions: v1, this one: the first pass gathers its taps through L1, 4 lines of a thread sharing each weight; between the passes stands a
   chunk of 32 lines in shared memory, 3 kB for any scale. Tall images, which begin with the columns, run the same code with x and y
   exchanged: their writes are not whole lines. Not timed: no GPU was at hand.  sm_75 and later; n * tiles < 2^31. */
#pragma once
#include "luss/cut_table.h"
#include "luss/exact.h"
#include "luss/launch.h"
#ifndef LUSS_CUDA_ON_CPU
#include <cuda_fp16.h>
#endif

namespace luss {

struct level_scale {
    float scale[3], shift[3];
};

constexpr int CUT_TILE = 32, CUT_LINES = 8, CUT_EACH = CUT_TILE / CUT_LINES; // threads 32 x 8, lines of a tile for each thread

__device__ __forceinline__ void put_level(float* out, float value) { *out = value; }
__device__ __forceinline__ void put_level(__half* out, float value) { *out = __float2half_rn(value); }
__device__ __forceinline__ int to_level(int sum) { return sum >> LUSS_FIXED_BITS < 255 ? sum >> LUSS_FIXED_BITS : 255; }

/* A block makes 32 x 32 results. Its x runs along the axis of the first pass, its lines along that of the second. */
template <class T>
__global__ void __launch_bounds__(CUT_TILE * CUT_LINES) resize_cut_kernel(const uint8_t* __restrict__ pixels, const luss_image* __restrict__ images,
                                                                        const luss_cut* __restrict__ cuts, const luss_cut_axes* __restrict__ axes,
                                                                        const int32_t* __restrict__ taps, int height, int width, level_scale norm,
                                                                        T* __restrict__ out) {
    __shared__ uint8_t chunk[CUT_TILE][3][CUT_TILE];
    const int wide = (width + CUT_TILE - 1) / CUT_TILE, tiles = wide * ((height + CUT_TILE - 1) / CUT_TILE);
    const int number = blockIdx.x / tiles, left = blockIdx.x % tiles % wide * CUT_TILE, top = blockIdx.x % tiles / wide * CUT_TILE;
    const luss_image image = images[cuts[number].image];
    const luss_cut_axes at = axes[number];
    const bool swapped = at.columns_first;
    const int64_t pitch = 3 * static_cast<int64_t>(image.width);
    const int64_t step = swapped ? pitch : 3, line_step = swapped ? 3 : pitch; // bytes, along each axis of the block
    const int begin = swapped ? top : left, length = swapped ? height : width, line_begin = swapped ? left : top, lines = swapped ? width : height;
    const int32_t* const first_axis = taps + (swapped ? at.down : at.across);
    const int32_t* const second_axis = taps + (swapped ? at.across : at.down);

    const int i = begin + static_cast<int>(threadIdx.x), final_line = (line_begin + CUT_TILE < lines ? line_begin + CUT_TILE : lines) - 1;
    const int from = second_axis[2 * line_begin]; // source lines that the tile needs: from <= line < until
    const int until = second_axis[2 * final_line] + second_axis[2 * final_line + 3] - second_axis[2 * final_line + 1];
    const int32_t* weights = taps;
    const uint8_t* source = pixels + image.offset;
    int count = 0;
    if (i < length) {
        weights = taps + first_axis[2 * i + 1];
        count = first_axis[2 * i + 3] - first_axis[2 * i + 1];
        source += first_axis[2 * i] * step;
    }
    int result[CUT_EACH][3];
    for (int j = 0; j < CUT_EACH; ++j)
        for (int c = 0; c < 3; ++c) result[j][c] = 1 << (LUSS_FIXED_BITS - 1);

    for (int base = from; base < until; base += CUT_TILE) {
        int sum[CUT_EACH][3];
        const uint8_t* line[CUT_EACH];
        for (int j = 0; j < CUT_EACH; ++j) {
            const int wanted = base + static_cast<int>(threadIdx.y) + j * CUT_LINES;
            line[j] = source + (wanted < until ? wanted : until - 1) * line_step;
            for (int c = 0; c < 3; ++c) sum[j][c] = 1 << (LUSS_FIXED_BITS - 1);
        }
        for (int k = 0; k < count; ++k) {
            const int weight = weights[k];
            for (int j = 0; j < CUT_EACH; ++j)
                for (int c = 0; c < 3; ++c) sum[j][c] += weight * line[j][k * step + c];
        }
        for (int j = 0; j < CUT_EACH; ++j)
            for (int c = 0; c < 3; ++c) chunk[threadIdx.y + j * CUT_LINES][c][threadIdx.x] = static_cast<uint8_t>(to_level(sum[j][c]));
        __syncthreads();
        for (int j = 0; j < CUT_EACH; ++j) {
            const int number_of_line = line_begin + static_cast<int>(threadIdx.y) + j * CUT_LINES;
            if (number_of_line >= lines) continue;
            const int32_t* const entry = second_axis + 2 * number_of_line;
            const int first = entry[0], last = first + entry[3] - entry[1];
            const int low = first > base ? first : base, high = last < base + CUT_TILE ? last : base + CUT_TILE;
            for (int k = low; k < high; ++k) {
                const int weight = taps[entry[1] + k - first];
                for (int c = 0; c < 3; ++c) result[j][c] += weight * chunk[k - base][c][threadIdx.x];
            }
        }
        __syncthreads();
    }

    const int64_t area = static_cast<int64_t>(height) * width;
    for (int j = 0; j < CUT_EACH; ++j) {
        const int number_of_line = line_begin + static_cast<int>(threadIdx.y) + j * CUT_LINES;
        if (i >= length || number_of_line >= lines) continue;
        const int x = swapped ? number_of_line : i, y = swapped ? i : number_of_line;
        T* const to = out + 3 * area * number + static_cast<int64_t>(y) * width + x;
        for (int c = 0; c < 3; ++c)
            put_level(to + c * area, luss_add(luss_mul(static_cast<float>(to_level(result[j][c])), norm.scale[c]), norm.shift[c]));
    }
}

/* On `stream`; nothing waits. T is float or __half; n may be 0. Returns the launch's error. */
template <class T>
inline cudaError_t resize_crops(const uint8_t* pixels, const luss_image* images, const luss_cut* cuts, const luss_cut_axes* axes, const int32_t* taps,
                                int n, int height, int width, level_scale norm, T* out, cudaStream_t stream) {
    if (n == 0) return cudaSuccess;
    const dim3 grid(n * ((width + CUT_TILE - 1) / CUT_TILE) * ((height + CUT_TILE - 1) / CUT_TILE)), block(CUT_TILE, CUT_LINES);
    LUSS_LAUNCH(resize_cut_kernel<T>, grid, block, 0, stream, pixels, images, cuts, axes, taps, height, width, norm, out);
    return cudaGetLastError();
}

} // namespace luss
