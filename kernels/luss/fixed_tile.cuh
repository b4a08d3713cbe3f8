/* A tile of 32 x 32 pixels of Pillow's two-pass 8-bit resizing, by a block of 32 x 8 threads: what resize_crops.cuh and augment_crops.cuh share.
   Whole numbers up to the level, so the same bits as the CPU path (engine/ops/cpu/fixed_resize.h).

   The first pass gathers its taps through L1; between the passes stands a chunk of 32 source lines, 3 kB for any scale. Where it goes along the
   rows, the chunk is 32 source rows, cut to the tile's columns; where it goes down the columns, 32 source columns, cut to the tile's rows. Either
   way a warp reads neighbouring pixels of one row. */
#pragma once
#include "luss/fixed_taps.h"
#include "luss/launch.h"
#ifndef LUSS_CUDA_ON_CPU
#include <cuda_fp16.h>
#endif

namespace luss {

constexpr int CUT_TILE = 32, CUT_LINES = 8, CUT_EACH = CUT_TILE / CUT_LINES; // threads 32 x 8, rows of a tile for each thread

struct level_scale {
    float scale[3], shift[3];
};

__device__ __forceinline__ void put_level(float* out, float value) { *out = value; }
__device__ __forceinline__ void put_level(__half* out, float value) { *out = __float2half_rn(value); }
__device__ __forceinline__ int to_level(int sum) { return sum >> LUSS_FIXED_BITS < 255 ? sum >> LUSS_FIXED_BITS : 255; }

struct fixed_chunk {
    uint8_t level[CUT_TILE][3][CUT_TILE]; // row, channel, column
};

/* Pixels low <= i < high of an axis that the result's pixels begin..final are made of, in whichever direction it runs. */
template <class Axis> __device__ __forceinline__ void fixed_reach(const Axis& axis, int begin, int final, int& low, int& high) {
    const int first = axis.first(begin), second = axis.first(final);
    const int first_end = first + axis.count(begin), second_end = second + axis.count(final);
    low = first < second ? first : second;
    high = first_end > second_end ? first_end : second_end;
}

/* Leaves the tile's levels in `chunk`: each thread those of its own column and rows threadIdx.y + CUT_LINES j, good where they lie in the result,
   so none needs a barrier. source: the pixel 0 of both axes. Axis: first(i), count(i) and weight(i, k) of the result's pixel i. */
template <class Axis>
__device__ __forceinline__ void fixed_tile(const uint8_t* source, int64_t pitch, bool columns_first, const Axis& down, const Axis& across, int height,
                                           int width, int left, int top, fixed_chunk& chunk) {
    const int tx = threadIdx.x, ty = threadIdx.y, x = left + tx;
    const int final_x = (left + CUT_TILE < width ? left + CUT_TILE : width) - 1, final_y = (top + CUT_TILE < height ? top + CUT_TILE : height) - 1;
    int result[CUT_EACH][3]; // sums of 2^-22 of a level, rounding included
    for (int j = 0; j < CUT_EACH; ++j)
        for (int c = 0; c < 3; ++c) result[j][c] = 1 << (LUSS_FIXED_BITS - 1);
    int from, until, first = 0, count = 0; // of the tile, along the axis of the second pass; of this thread's column
    fixed_reach(columns_first ? across : down, columns_first ? left : top, columns_first ? final_x : final_y, from, until);
    if (x < width) first = across.first(x), count = across.count(x);

    for (int base = from; base < until; base += CUT_TILE) {
        int sum[CUT_EACH][3];
        for (int j = 0; j < CUT_EACH; ++j)
            for (int c = 0; c < 3; ++c) sum[j][c] = 1 << (LUSS_FIXED_BITS - 1);
        if (columns_first) {
            const int column = base + tx < until ? base + tx : until - 1;
            for (int j = 0; j < CUT_EACH; ++j) {
                const int y = top + ty + j * CUT_LINES;
                if (y >= height) continue;
                const uint8_t* p = source + down.first(y) * pitch + 3 * static_cast<int64_t>(column);
#pragma unroll 1
                for (int k = 0, taps = down.count(y); k < taps; ++k, p += pitch) {
                    const int weight = down.weight(y, k);
                    for (int c = 0; c < 3; ++c) sum[j][c] += weight * p[c];
                }
            }
        } else {
            const uint8_t* line[CUT_EACH];
            for (int j = 0; j < CUT_EACH; ++j) {
                const int wanted = base + ty + j * CUT_LINES;
                line[j] = source + (wanted < until ? wanted : until - 1) * pitch + 3 * static_cast<int64_t>(first);
            }
#pragma unroll 1
            for (int k = 0; k < count; ++k) {
                const int weight = across.weight(x, k);
                for (int j = 0; j < CUT_EACH; ++j)
                    for (int c = 0; c < 3; ++c) sum[j][c] += weight * line[j][3 * k + c];
            }
        }
        for (int j = 0; j < CUT_EACH; ++j)
            for (int c = 0; c < 3; ++c) chunk.level[ty + j * CUT_LINES][c][tx] = static_cast<uint8_t>(to_level(sum[j][c]));
        __syncthreads();
        if (columns_first) {
            const int low = first > base ? first : base, end = first + count, high = end < base + CUT_TILE ? end : base + CUT_TILE;
#pragma unroll 1
            for (int k = low; k < high; ++k) {
                const int weight = across.weight(x, k - first);
                for (int j = 0; j < CUT_EACH; ++j)
                    for (int c = 0; c < 3; ++c) result[j][c] += weight * chunk.level[ty + j * CUT_LINES][c][k - base];
            }
        } else {
            for (int j = 0; j < CUT_EACH; ++j) {
                const int y = top + ty + j * CUT_LINES;
                if (y >= height) continue;
                const int begin = down.first(y), end = begin + down.count(y);
                const int low = begin > base ? begin : base, high = end < base + CUT_TILE ? end : base + CUT_TILE;
#pragma unroll 1
                for (int k = low; k < high; ++k) {
                    const int weight = down.weight(y, k - begin);
                    for (int c = 0; c < 3; ++c) result[j][c] += weight * chunk.level[k - base][c][tx];
                }
            }
        }
        __syncthreads();
    }
    for (int j = 0; j < CUT_EACH; ++j)
        for (int c = 0; c < 3; ++c) chunk.level[ty + j * CUT_LINES][c][tx] = static_cast<uint8_t>(to_level(result[j][c]));
}

} // namespace luss
