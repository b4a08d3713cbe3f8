/* Whole images resized as Pillow does, to the bit, cut and normalised.                              hot path I1, input of evaluation
   pixels (bytes,) uint8;  images (m,) luss_image, (height, width, 3) from its offset on;  cuts (n,) luss_cut;  axes (n,) luss_cut_axes and
   taps (..) int32 as cut_table.h says: all on the device.  out (n, 3, h, w) float32 or float16 = level * scale[c] + shift[c].
   Whole numbers up to the level, so the same bits as the CPU path (engine/ops/cpu/fixed_resize.h). Nothing is checked here.  Gradient: none.
   The taps come from the host: they need double precision, slow on cards for games, and repeat from image to image.

   Least traffic: the pixels the cut needs once, 3 bw bh bytes, the result, 12 h w (fp16: 6 h w), the taps of each different axis once,
   (8 + 4 taps) a pixel of its length. 224 x 224 of 500 x 375 resized to 341 x 256, fp32: 3 * 331 * 331 + 12 * 224 * 224 + 9 kB = 0.94 MB.
   Moved besides: the halo of a tile, 2 x scale rows for 32 x scale, read again mostly from the second-level cache.
   Versions: v1 ran tall images, which begin with the columns, with x and y exchanged: a warp then read 32 rows and wrote 32 lines. v2, this
   one (fixed_tile.cuh), reads and writes along the rows always.
   Not timed: no GPU was at hand.  sm_75 and later: 64 registers, no spills; n * tiles < 2^31; shared memory 3 kB. */
#pragma once
#include "luss/cut_table.h"
#include "luss/fixed_tile.cuh"

namespace luss {

/* An axis of a cut in the table of cut_table.h. */
struct table_axis {
    const int32_t *taps, *entries;
    __device__ int first(int i) const { return entries[2 * i]; }
    __device__ int count(int i) const { return entries[2 * i + 3] - entries[2 * i + 1]; }
    __device__ int weight(int i, int k) const { return taps[entries[2 * i + 1] + k]; }
};

template <class T>
__global__ void __launch_bounds__(CUT_TILE * CUT_LINES) resize_cut_kernel(const uint8_t* __restrict__ pixels, const luss_image* __restrict__ images,
                                                                        const luss_cut* __restrict__ cuts, const luss_cut_axes* __restrict__ axes,
                                                                        const int32_t* __restrict__ taps, int height, int width, level_scale norm,
                                                                        T* __restrict__ out) {
    __shared__ fixed_chunk chunk;
    const int wide = (width + CUT_TILE - 1) / CUT_TILE, tiles = wide * ((height + CUT_TILE - 1) / CUT_TILE);
    const int number = blockIdx.x / tiles, left = blockIdx.x % tiles % wide * CUT_TILE, top = blockIdx.x % tiles / wide * CUT_TILE;
    const luss_image image = images[cuts[number].image];
    const luss_cut_axes at = axes[number];
    const table_axis down = {taps, taps + at.down}, across = {taps, taps + at.across};
    fixed_tile(pixels + image.offset, 3 * static_cast<int64_t>(image.width), at.columns_first != 0, down, across, height, width, left, top, chunk);

    const int64_t area = static_cast<int64_t>(height) * width;
    const int x = left + static_cast<int>(threadIdx.x);
#pragma unroll 1
    for (int line = threadIdx.y; line < CUT_TILE; line += CUT_LINES) {
        const int y = top + line;
        if (x >= width || y >= height) continue;
        T* const to = out + 3 * area * number + static_cast<int64_t>(y) * width + x;
        for (int c = 0; c < 3; ++c)
            put_level(to + c * area, luss_add(luss_mul(static_cast<float>(chunk.level[line][c][threadIdx.x]), norm.scale[c]), norm.shift[c]));
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
