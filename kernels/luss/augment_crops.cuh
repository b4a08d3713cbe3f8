/* Decoded images and a crop plan to normalised crops: cut, resize, flip, jitter, grey, blur, normalise.        hot path I1, input
   pixels (bytes,) uint8;  images (m,) luss_image, (height, width, 3) from its offset on;  crops (n,) luss_crop: all on the device.
   out (n, 3, h, w) float32 or float16 = level * scale[c] + shift[c]; the level is Pillow's, to the bit (Resample.c, BoxBlur.c, and what
   pixel_colour.h names): engine/ops/cpu gives the same bits from the same headers. Nothing is checked here; the caller has checked that boxes
   lie in their images, images in the buffer, blur <= 8.  Gradient: none.  Assumed: n * tiles < 2^31.

   Least traffic: the box once, 3 bw bh bytes, and the result, 12 h w (fp16: 6 h w). Moved besides: 8-bit planes between the launches,
   3 h w written and 3 h w (1 + halo) read, mostly from the second-level cache; the taps, (8 + 4 taps) (h + w) written once and read by every
   tile. 224 x 224 from 300 x 300, fp32: 0.87 MB least; moved 0.87 + 0.15 planes written + 0.15 to 0.28 read + 0.01 taps = 1.2 to 1.3 MB.
   Operations a pixel: resize 3 channels x (4 taps x 1.4 rows + 4 taps) multiply-adds at scale 1.34; jitter about 100; blur, where there is
   one, 2 x 3 passes x 3 channels x 13, times 1.4 for the halo of sigma 2. At 616 GB/s and 13 T operations/s (2080 Ti) a blurred crop takes
   2 us for its bytes and about as long for its operations.
   Launch 0: taps and boxes, in double precision as in Pillow: (h + w) (30 + 25 taps) operations a crop, 0.2 us of a 2080 Ti, which does only
   two a clock and multiprocessor: so once a crop, not once a tile. Launch 1: fixed_tile.cuh. Two more launches, since contrast needs the mean
   of the whole crop.
   Versions: v1 resized in floats, each thread gathering 2 x 2 to 4 x 4 taps, and blurred with one composed filter of up to 49 taps: near
   Pillow's levels, not equal. v2, this one. Not timed: no GPU was at hand.
   sm_75 and later. Registers of launch 0 / 1 / 2, without spills: sm_75 42 / 64 / 59, sm_80 42 / 64 / 57, sm_86 42 / 64 / 56, sm_90 38 / 64 / 56.
   Shared memory of launch 1 3 kB, of launch 2 dynamic: 3 kB, 12 kB for sigma 2, 41 kB for sigma 8, by the largest one of all crops. */
#pragma once
#include <cstdint>

#include "luss/box_blur.h"
#include "luss/fixed_tile.cuh"
#include "luss/launch.h"
#include "luss/pixel_colour.h"

namespace luss {

constexpr int CROP_THREADS = CUT_TILE * CUT_LINES; // of a block of every launch
constexpr int BOX_RUN = 8;                         // levels that a thread makes along a line before it moves to another one

/* Scratch that launch 0 fills: of each crop four numbers, then of each crop rows of h + w numbers, one for each row and column of the result:
   the first pixel of the image, how many, and `taps` weights. */
struct crop_table {
    int32_t* numbers;
    int n, height, width, taps;

    LUSS_BOTH int64_t size() const { return n * (4 + (2 + static_cast<int64_t>(taps)) * (height + width)); }
    __device__ int32_t* of_crop(int number) const { return numbers + 4 * static_cast<int64_t>(number); } // columns first, box
    __device__ int32_t* rows_of(int number) const {
        return numbers + 4 * static_cast<int64_t>(n) + number * (2 + static_cast<int64_t>(taps)) * (height + width);
    }
};

/* One axis of a crop in it. */
struct crop_axis {
    const int32_t* entries;
    int pitch;
    __device__ int first(int i) const { return entries[i]; }
    __device__ int count(int i) const { return entries[pitch + i]; }
    __device__ int weight(int i, int k) const { return entries[(2 + k) * pitch + i]; }
};

/* Launch 0: a block a crop. */
__global__ void __launch_bounds__(CROP_THREADS) crop_taps_kernel(const luss_image* __restrict__ images, const luss_crop* __restrict__ crops,
                                                                 crop_table table) {
    __shared__ luss_axis axes[2]; // down, across
    __shared__ int32_t low[2];
    const int number = blockIdx.x, thread = threadIdx.x, pitch = table.height + table.width;
    const luss_crop crop = crops[number];
    const luss_image image = images[crop.image];
    if (thread == 0) axes[0] = luss_box_axis(crop.top, crop.height, table.height, image.height, low[0]);
    if (thread == 32) axes[1] = luss_box_axis(crop.left, crop.width, table.width, image.width, low[1]);
    __syncthreads();
    if (thread == 0) {
        const luss_box box = luss_make_box(crop.blur); // of a standard deviation of 0: nothing but the pixel itself
        int32_t* const to = table.of_crop(number);
        to[0] = luss_columns_first(axes[0], axes[1]);
        to[1] = box.radius, to[2] = static_cast<int32_t>(box.inner), to[3] = static_cast<int32_t>(box.outer);
    }
    int32_t* const rows = table.rows_of(number);
    for (int entry = thread; entry < pitch; entry += CROP_THREADS) {
        const bool is_column = entry >= table.height;
        const luss_axis& axis = axes[is_column];
        const int at = is_column ? entry - table.height : entry, pixel = is_column && crop.flip ? table.width - 1 - at : at;
        const double centre = luss_centre(axis, pixel);
        int32_t first, last;
        luss_tap_range(axis, pixel, first, last);
        double sum = 0;
        for (int x = first; x < last; ++x) sum = luss_add(sum, luss_tap_weight(axis, centre, x));
        rows[entry] = low[is_column] + first;
        rows[pitch + entry] = last - first;
        for (int x = first; x < last; ++x) rows[(2 + x - first) * pitch + entry] = luss_fixed_weight(luss_tap_weight(axis, centre, x), sum);
    }
}

/* Launch 1. planes (n, 3, h, w) uint8: the crop before contrast, or before grey where it has no jitter; sums (n,) of its luma, zeroed. */
__global__ void __launch_bounds__(CROP_THREADS) crop_resize_kernel(const uint8_t* __restrict__ pixels, const luss_image* __restrict__ images,
                                                                   const luss_crop* __restrict__ crops, crop_table table,
                                                                   uint8_t* __restrict__ planes, unsigned long long* __restrict__ sums) {
    __shared__ fixed_chunk chunk;
    __shared__ int partial[CUT_LINES];
    const int height = table.height, width = table.width;
    const int wide = (width + CUT_TILE - 1) / CUT_TILE, tiles = wide * ((height + CUT_TILE - 1) / CUT_TILE);
    const int number = blockIdx.x / tiles, left = blockIdx.x % tiles % wide * CUT_TILE, top = blockIdx.x % tiles / wide * CUT_TILE;
    const luss_crop crop = crops[number];
    const luss_image image = images[crop.image];
    const crop_axis down = {table.rows_of(number), height + width}, across = {down.entries + height, down.pitch};
    fixed_tile(pixels + image.offset, 3 * static_cast<int64_t>(image.width), table.of_crop(number)[0] != 0, down, across, height, width, left, top,
               chunk);

    const int steps = crop.order < 0 ? 0 : luss_steps(crop.order), before = crop.order < 0 ? 0 : steps_before_contrast(steps);
    const float shift = static_cast<float>(luss_hue_shift(crop.hue));
    const int64_t area = static_cast<int64_t>(height) * width;
    const int x = left + static_cast<int>(threadIdx.x);
    int grey = 0;
#pragma unroll 1
    for (int line = threadIdx.y; line < CUT_TILE; line += CUT_LINES) {
        const int y = top + line;
        if (x >= width || y >= height) continue;
        const auto level = [&](int c) { return exact{static_cast<float>(chunk.level[line][c][threadIdx.x])}; };
        pixel<exact> p = {level(0), level(1), level(2)};
        for (int i = 0; i < before; ++i) colour_step(steps >> 4 * i & 15, p, crop, 0.0f, shift);
        if (crop.order >= 0) grey += static_cast<int>(luma(p).v);
        uint8_t* to = planes + 3 * area * number + static_cast<int64_t>(y) * width + x;
        to[0] = static_cast<uint8_t>(p.r.v);
        to[area] = static_cast<uint8_t>(p.g.v);
        to[2 * area] = static_cast<uint8_t>(p.b.v);
    }
    if (crop.order < 0) return; // the whole block
    for (int offset = CUT_TILE / 2; offset > 0; offset /= 2) grey += __shfl_down_sync(0xffffffffu, grey, offset);
    if (threadIdx.x == 0) partial[threadIdx.y] = grey;
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        int total = 0;
        for (int i = 0; i < CUT_LINES; ++i) total += partial[i];
        atomicAdd(sums + number, static_cast<unsigned long long>(total));
    }
}

/* Pixels begin <= i < end of one axis, of a line of `size`. */
struct stretch {
    int begin, end;
    __device__ stretch(int first, int reach, int size) : begin(first > reach ? first - reach : 0), end(first + CUT_TILE + reach) {
        if (end > size) end = size;
    }
    __device__ int length() const { return end - begin; }
};

/* A tile with its halo in shared memory: `side` rows and columns at most. An odd number of words a row: walking down 32 rows hits 32 banks. */
struct halo_tile {
    int side, pitch;
    LUSS_BOTH explicit halo_tile(int reach) : side(CUT_TILE + 2 * LUSS_BOX_PASSES * reach), pitch(((side + 3) / 4 | 1) * 4) {}
    LUSS_BOTH int channel() const { return side * pitch; }
    LUSS_BOTH int bytes() const { return 3 * channel(); }
};

/* One box along lines of which in[0] is the pixel `origin`, neighbours `step` apart: the pixels begin <= i < end. `last`: of the whole line. */
__device__ __forceinline__ void box_run(const luss_box& box, const uint8_t* in, uint8_t* out, int step, int origin, int begin, int end, int last) {
    const auto at = [=](int i) { return static_cast<uint32_t>(in[((i < 0 ? 0 : i < last ? i : last) - origin) * step]); };
    uint32_t inside = 0;
    for (int k = -box.radius - 1; k < box.radius; ++k) inside += at(begin + k);
    uint32_t entering = at(begin + box.radius);
    for (int i = begin; i < end; ++i) {
        const uint32_t behind = at(i - box.radius - 1), ahead = at(i + box.radius + 1);
        inside += entering - behind;
        out[(i - origin) * step] = static_cast<uint8_t>(luss_box_level(box, inside, behind + ahead));
        entering = ahead;
    }
}

/* The six passes, from `here` and back to it, by way of `there`: rows and columns of a tile at (top, left) with its halo. */
__device__ __forceinline__ void blur_tile(const luss_box& box, int channels, int left, int top, int height, int width, const halo_tile& room,
                                          uint8_t* here, uint8_t* there) {
    const int thread = threadIdx.y * CUT_TILE + threadIdx.x, reach = box.radius + 1;
    const stretch columns(left, LUSS_BOX_PASSES * reach, width), rows(top, LUSS_BOX_PASSES * reach, height), kept(left, 0, width);
    for (int pass = 0; pass < 2 * LUSS_BOX_PASSES; ++pass) {
        const bool across = pass < LUSS_BOX_PASSES;
        const int halo = (LUSS_BOX_PASSES - 1 - pass % LUSS_BOX_PASSES) * reach;
        const stretch wanted = across ? stretch(left, halo, width) : stretch(top, halo, height);
        const int lines = across ? rows.length() : kept.length(), runs = (wanted.length() + BOX_RUN - 1) / BOX_RUN;
        for (int item = thread; item < channels * runs * lines; item += CROP_THREADS) { // neighbouring threads, neighbouring lines
            const int line = item % lines, begin = wanted.begin + item / lines % runs * BOX_RUN, c = item / (lines * runs);
            const int end = begin + BOX_RUN < wanted.end ? begin + BOX_RUN : wanted.end;
            const int at = c * room.channel() + (across ? line * room.pitch : line + kept.begin - columns.begin);
            const int step = across ? 1 : room.pitch, origin = across ? columns.begin : rows.begin, last = (across ? width : height) - 1;
            box_run(box, here + at, there + at, step, origin, begin, end, last);
        }
        __syncthreads();
        uint8_t* const swapped = here;
        here = there, there = swapped;
    }
}

/* Launch 2: contrast and what follows it, grey, blur, normalisation. A tile of 32 x 32 with a halo for the blur. */
template <class T>
__global__ void __launch_bounds__(CROP_THREADS) crop_finish_kernel(const luss_crop* __restrict__ crops, crop_table table,
                                                                   const uint8_t* __restrict__ planes, const unsigned long long* __restrict__ sums,
                                                                   level_scale norm, T* __restrict__ out) {
    LUSS_SHARED_BYTES(shared);
    const int height = table.height, width = table.width;
    const int wide = (width + CUT_TILE - 1) / CUT_TILE, tiles = wide * ((height + CUT_TILE - 1) / CUT_TILE);
    const int number = blockIdx.x / tiles, left = blockIdx.x % tiles % wide * CUT_TILE, top = blockIdx.x % tiles / wide * CUT_TILE;
    const luss_crop crop = crops[number];
    const int32_t* const numbers = table.of_crop(number);
    const luss_box box = {numbers[1], static_cast<uint32_t>(numbers[2]), static_cast<uint32_t>(numbers[3])};
    const bool blurred = box.inner != 1u << 24;
    const int reach = blurred ? box.radius + 1 : 0, channels = crop.grey ? 1 : 3;
    const halo_tile room(reach);
    const stretch columns(left, LUSS_BOX_PASSES * reach, width), rows(top, LUSS_BOX_PASSES * reach, height);

    const int64_t area = static_cast<int64_t>(height) * width;
    const uint8_t* from = planes + 3 * area * number;
    const int steps = crop.order < 0 ? 0 : luss_steps(crop.order), before = crop.order < 0 ? 4 : steps_before_contrast(steps);
    const float mean = crop.order < 0 ? 0.0f : contrast_mean(sums[number], static_cast<unsigned long long>(area));
    const float shift = static_cast<float>(luss_hue_shift(crop.hue));
    for (int item = threadIdx.y * CUT_TILE + threadIdx.x; item < rows.length() * columns.length(); item += CROP_THREADS) {
        const int y = item / columns.length(), x = item % columns.length();
        const uint8_t* p = from + static_cast<int64_t>(rows.begin + y) * width + columns.begin + x;
        pixel<exact> value = {exact{static_cast<float>(p[0])}, exact{static_cast<float>(p[area])}, exact{static_cast<float>(p[2 * area])}};
        for (int i = before; i < 4; ++i) colour_step(steps >> 4 * i & 15, value, crop, mean, shift);
        if (crop.grey) value.r = luma(value);
        uint8_t* const to = shared + y * room.pitch + x;
        to[0] = static_cast<uint8_t>(value.r.v);
        to[room.channel()] = static_cast<uint8_t>(value.g.v);
        to[2 * room.channel()] = static_cast<uint8_t>(value.b.v);
    }
    __syncthreads();
    if (blurred) blur_tile(box, channels, left, top, height, width, room, shared, shared + room.bytes());

    const int x = left + static_cast<int>(threadIdx.x);
    for (int y = top + threadIdx.y; y < top + CUT_TILE; y += CUT_LINES) {
        if (x >= width || y >= height) continue;
        const uint8_t* const level = shared + (y - rows.begin) * room.pitch + x - columns.begin;
        T* to = out + 3 * area * number + static_cast<int64_t>(y) * width + x;
        for (int c = 0; c < 3; ++c) {
            const float value = level[c < channels ? c * room.channel() : 0];
            put_level(to + c * area, luss_add(luss_mul(value, norm.scale[c]), norm.shift[c]));
        }
    }
}

/* All launches on `stream`; nothing waits. Scratch: numbers (crop_table.size(),) int32, planes (n, 3, h, w) uint8, sums (n,). T is float or __half;
   n may be 0. taps: at least 2 max(1, ceil(box / result)) + 1 over both axes of all crops. largest_blur: the largest crop.blur, 0..8.
   Returns the first error. */
template <class T>
inline cudaError_t augment_crops(const uint8_t* pixels, const luss_image* images, const luss_crop* crops, int n, int height, int width, int taps,
                                 float largest_blur, level_scale norm, int32_t* numbers, uint8_t* planes, unsigned long long* sums, T* out,
                                 cudaStream_t stream) {
    if (n == 0) return cudaSuccess;
    cudaError_t error = cudaMemsetAsync(sums, 0, sizeof(unsigned long long) * n, stream);
    if (error != cudaSuccess) return error;
    const crop_table table = {numbers, n, height, width, taps};
    const dim3 tiles(n * ((width + CUT_TILE - 1) / CUT_TILE) * ((height + CUT_TILE - 1) / CUT_TILE)), block(CUT_TILE, CUT_LINES);
    LUSS_LAUNCH(crop_taps_kernel, dim3(n), dim3(CROP_THREADS), 0, stream, images, crops, table);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    LUSS_LAUNCH(crop_resize_kernel, tiles, block, 0, stream, pixels, images, crops, table, planes, sums);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    // a little more blur than there is: this is the host's arithmetic, compiled with other options than the card's
    const int largest = largest_blur > 0 ? luss_make_box(largest_blur * 1.0001f).radius + 1 : 0;
    const int shared_bytes = (largest > 0 ? 2 : 1) * halo_tile(largest < LUSS_LARGEST_REACH ? largest : LUSS_LARGEST_REACH).bytes();
    LUSS_LAUNCH(crop_finish_kernel<T>, tiles, block, shared_bytes, stream, crops, table, planes, sums, norm, out);
    return cudaGetLastError();
}

} // namespace luss
