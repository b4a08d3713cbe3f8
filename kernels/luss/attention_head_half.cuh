/* attention_head.cuh with its second product on tensor cores: factors in fp16, sums in fp32.                          hot path P1
   Arguments, results and everything else as there. W2 and the hidden layer are rounded to fp16 (hidden values above 65504 are cut off there), so
   a logit's error is at most about 2^-10 |scale2| sum over c of |W2 hidden|; sums over c have a random sign, which leaves some 2^-10 / sqrt(c) of it.
   Launches: W2 to fp16, padded to whole tiles; norms and scale1 W1 f in fp32 as there; W2 hidden by tiles of 128 channels x 128 pixels x 16 of the
   depth, 8 warps of 64 x 32; sums.  A tile's column i * 32 + q holds pixel 4 q + i of the tile's 32 quads: a warp has one i, and the stores of the
   hidden layer, (pixel, depth) in rows of 48 bytes, meet 4 to a bank instead of 16.
   Least work an image (c = 2048, 7 x 7): 6.6 GFLOP here, 0.12 ms at 53.8 TFLOP/s, and 0.4 GFLOP in fp32, 0.03 ms at 13.4.
   On sm_75 a step of a block is 512 cycles of mma (8 warps x 32 of m16n8k8 x 2); beside them 192 of ldmatrix, 128 of stores, some 150 of loads from
   L1, and 8 warps x some 170 instructions / 4 schedulers = 340 issue slots: two blocks an SM overlap them, so 60 to 75 % of the rate is expected.
   W2 from L2: 4 KB for 512 cycles, 0.8 TB/s over 68 SMs. 7 tiles of 128 for 784 pixels: 12.5 % is padding.
   Versions: v1, this one. Not timed: no GPU at hand. sm_75 and later; static shared memory 24 KB, two blocks an SM. Registers for sm_75, 80, 86,
   90: 128, 126, 128, 128; spills 0, 0, 16, 16 bytes (nvcc 13, --use_fast_math). */
#pragma once
#include "luss/attention_head.cuh"
#include "luss/mma.h"

namespace luss {

constexpr int HALF_TILE = 128, HALF_DEPTH = 16, HALF_THREADS = 256, HALF_QUADS = HALF_TILE / 4;
constexpr int HALF_WORDS = HALF_DEPTH / 2 + 4; // of 32 bits in a row of shared memory: 16 bytes of padding keep ldmatrix free of conflicts

struct alignas(16) half_shared {
    uint32_t a[2][HALF_TILE][HALF_WORDS], b[2][HALF_TILE][HALF_WORDS];
};

__device__ __forceinline__ uint32_t two_halves(float low, float high) {
    const __half halves[2] = {__float2half_rn(low), __float2half_rn(high)};
    uint32_t both;
    memcpy(&both, halves, sizeof both);
    return both;
}

/* to (rows, depth / 2) pairs of halves of weight (c, c); zeros beyond. depth is a multiple of 16. */
__global__ void __launch_bounds__(256) half_weights_kernel(const float* __restrict__ weight, int c, int depth, int64_t count,
                                                         uint32_t* __restrict__ to) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
    if (at >= count) return;
    const int64_t row = at / (depth / 2), k = at % (depth / 2) * 2;
    const float* from = weight + row * c + k;
    to[at] = two_halves(row < c && k < c ? from[0] : 0.0f, row < c && k + 1 < c ? from[1] : 0.0f);
}

/* A thread's part of the next 16 of the depth: 16 bytes of a row of W2, and 2 of the depth of a quad of the hidden layer. */
struct half_fetch {
    uint4 a;
    uint32_t b[4];

    __device__ void get(const uint32_t* __restrict__ weight, int depth, int k, int c, const hidden_columns& columns) {
        const int row = threadIdx.x / 2;
        a = *reinterpret_cast<const uint4*>(weight + static_cast<int64_t>(row) * (depth / 2) + k / 2 + threadIdx.x % 2 * 4);
        const int own = k + static_cast<int>(threadIdx.x) / HALF_QUADS * 2;
        const quad none = {{0, 0, 0, 0}};
        const quad low = own < c ? columns.value(own) : none, high = own + 1 < c ? columns.value(own + 1) : none;
        for (int i = 0; i < 4; ++i) b[i] = two_halves(low.v[i] > 65504.0f ? 65504.0f : low.v[i], high.v[i] > 65504.0f ? 65504.0f : high.v[i]);
    }
    __device__ void put(half_shared& shared, int side) const {
        *reinterpret_cast<uint4*>(&shared.a[side][threadIdx.x / 2][threadIdx.x % 2 * 4]) = a;
        for (int i = 0; i < 4; ++i) shared.b[side][i * HALF_QUADS + threadIdx.x % HALF_QUADS][threadIdx.x / HALF_QUADS] = b[i];
    }
};

/* One step of the depth of a warp's 64 x 32. */
__device__ __forceinline__ void half_step(const half_shared& shared, int side, int row, int column, float (&sum)[4][4][4]) {
    const int lane = threadIdx.x % 32;
    uint32_t a[4][4], b[2][4];
#pragma unroll
    for (int m = 0; m < 4; ++m) load_matrices(a[m], &shared.a[side][row + 16 * m + lane % 16][lane / 16 * 4]);
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) load_matrices(b[pair], &shared.b[side][column + 16 * pair + lane / 16 * 8 + lane % 8][lane / 8 % 2 * 4]);
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int tile = 0; tile < 4; ++tile) mma_m16n8k16(sum[m][tile], a[m], b[tile / 2][tile % 2 * 2], b[tile / 2][tile % 2 * 2 + 1]);
}

__global__ void __launch_bounds__(HALF_THREADS, 2) half_attend_kernel(const float* __restrict__ features, const float* __restrict__ mixed,
                                                                    const float* __restrict__ inverse, const float* __restrict__ shift1,
                                                                    const uint32_t* __restrict__ weight, const float* __restrict__ scale,
                                                                    const float* __restrict__ shift, int c, int depth, int h, int w, int row_tiles,
                                                                    int column_tiles, head_shares shares) {
    __shared__ half_shared shared;
    const int row_tile = blockIdx.x % row_tiles, column_tile = blockIdx.x / row_tiles % column_tiles;
    const int64_t image = blockIdx.x / row_tiles / column_tiles, small = static_cast<int64_t>(h) * w, pixels = 16 * small;
    const int first = column_tile * HALF_QUADS, quads = 4 * h * w;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, within = warp % 4; // which of a quad's pixels
    const int row = warp / 4 * 64, column = within * HALF_QUADS;
    float sum[4][4][4];
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int tile = 0; tile < 4; ++tile)
#pragma unroll
            for (int i = 0; i < 4; ++i) sum[m][tile][i] = 0.0f;
    {
        const int own = first + static_cast<int>(threadIdx.x) % HALF_QUADS;
        const hidden_columns columns(mixed + image * c * small, inverse + image * pixels, shift1, own, h, w);
        const uint32_t* rows = weight + static_cast<int64_t>(row_tile) * HALF_TILE * (depth / 2);
        half_fetch next;
        next.get(rows, depth, 0, c, columns);
        next.put(shared, 0);
        __syncthreads();
        int side = 0;
        for (int k = 0; k < depth; k += HALF_DEPTH) {
            const bool more = k + HALF_DEPTH < depth;
            if (more) next.get(rows, depth, k + HALF_DEPTH, c, columns);
            half_step(shared, side, row, column, sum);
            side ^= 1;
            if (more) next.put(shared, side); // nobody has read this side since the last barrier
            __syncthreads();
        }
    }
    // Accumulator i of (m, tile): channel row + 16 m + lane / 4 + 8 (i / 2), quad 8 tile + 2 (lane % 4) + i % 2
    const int channel0 = row_tile * HALF_TILE + row + lane / 4;
#pragma unroll
    for (int m = 0; m < 4; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int channel = channel0 + 16 * m + i / 2 * 8;
            const float by = channel < c ? scale[channel] : 0.0f, plus = channel < c ? shift[channel] : 0.0f;
#pragma unroll
            for (int tile = 0; tile < 4; ++tile) sum[m][tile][i] = channel < c ? logistic(by * sum[m][tile][i] + plus).value : 0.0f;
        }
    float(*lines)[HALF_TILE] = reinterpret_cast<float(*)[HALF_TILE]>(&shared.a[0][0][0]); // the factors have been used up
    if (shares.attention != nullptr) {
#pragma unroll
        for (int tile = 0; tile < 4; ++tile)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                float total = 0.0f;
#pragma unroll
                for (int m = 0; m < 4; ++m) total += sum[m][tile][i] + sum[m][tile][i + 2];
                for (int step = 4; step < 32; step *= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
                if (lane < 4) lines[warp / 4][4 * (8 * tile + 2 * lane + i) + within] = total;
            }
        __syncthreads();
        const int64_t pixel = 4 * static_cast<int64_t>(first) + threadIdx.x;
        if (threadIdx.x < HALF_TILE && pixel < pixels)
            shares.attention[(image * row_tiles + row_tile) * pixels + pixel] = lines[0][threadIdx.x] + lines[1][threadIdx.x];
        __syncthreads();
    }
    if (shares.pooled == nullptr) return;
    float totals[8] = {0, 0, 0, 0, 0, 0, 0, 0}; // of channels 8 j + channel0
#pragma unroll
    for (int tile = 0; tile < 4; ++tile)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int number = first + 8 * tile + 2 * (lane % 4) + i;
            if (number >= quads) continue;
            const quad_taps taps = quad_taps::of(number, h, w);
#pragma unroll
            for (int j = 0; j < 8; ++j)
                if (channel0 + 8 * j < c)
                    totals[j] += sum[j / 2][tile][j % 2 * 2 + i] * enlarged_pixel(taps, within, features + (image * c + channel0 + 8 * j) * small);
        }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        for (int step = 1; step < 4; step *= 2) totals[j] += __shfl_xor_sync(0xffffffffu, totals[j], step);
        if (lane % 4 == 0) lines[within][row + lane / 4 + 8 * j] = totals[j];
    }
    __syncthreads();
    const int channel = row_tile * HALF_TILE + static_cast<int>(threadIdx.x);
    if (threadIdx.x < HALF_TILE && channel < c) {
        float total = 0.0f;
        for (int i = 0; i < 4; ++i) total += lines[i][threadIdx.x];
        shares.pooled[(image * column_tiles + column_tile) * c + channel] = total;
    }
}

/* Numbers of 4 bytes of scratch that attention_head_half needs. */
inline size_t attention_head_half_scratch(int64_t n, int c, int h, int w) {
    const int64_t small = static_cast<int64_t>(h) * w, pixels = 16 * small, tiles = (c + HALF_TILE - 1) / HALF_TILE;
    const int64_t column_tiles = (pixels + HALF_TILE - 1) / HALF_TILE, depth = (c + HALF_DEPTH - 1) / HALF_DEPTH * HALF_DEPTH;
    return static_cast<size_t>(tiles * HALF_TILE * depth / 2 + n * (pixels + c * small + column_tiles * c + tiles * pixels));
}

/* As attention_head; scratch 16-byte aligned. */
inline cudaError_t attention_head_half(const float* features, const float* weight1, const float* scale1, const float* shift1, const float* weight2,
                                       const float* scale2, const float* shift2, int64_t n, int c, int h, int w, float* pooled, float* attention,
                                       float* scratch, cudaStream_t stream) {
    if (n == 0) return cudaSuccess;
    const int64_t small = static_cast<int64_t>(h) * w, pixels = 16 * small;
    const int row_tiles = (c + HALF_TILE - 1) / HALF_TILE, column_tiles = static_cast<int>((pixels + HALF_TILE - 1) / HALF_TILE);
    const int depth = (c + HALF_DEPTH - 1) / HALF_DEPTH * HALF_DEPTH;
    const int64_t pairs = static_cast<int64_t>(row_tiles) * HALF_TILE * depth / 2;
    uint32_t* halves = reinterpret_cast<uint32_t*>(scratch);
    float* inverse = scratch + pairs;
    float* mixed = inverse + n * pixels;
    float* pool_shares = mixed + n * c * small;
    const head_shares shares = {pooled == nullptr ? nullptr : pool_shares, attention == nullptr ? nullptr : pool_shares + n * column_tiles * c};
    LUSS_LAUNCH(half_weights_kernel, dim3(static_cast<unsigned>((pairs + 255) / 256)), dim3(256), 0, stream, weight2, c, depth, pairs, halves);
    const cudaError_t error = head_mix(features, weight1, scale1, n, c, h, w, inverse, mixed, stream);
    if (error != cudaSuccess) return error;
    const dim3 grid(static_cast<unsigned>(n * column_tiles * row_tiles));
    LUSS_LAUNCH(half_attend_kernel, grid, dim3(HALF_THREADS), 0, stream, features, mixed, inverse, shift1, halves, scale2, shift2, c, depth,
                h, w, row_tiles, column_tiles, shares);
    return head_sum(shares, n, c, pixels, row_tiles, column_tiles, pooled, attention, stream);
}

} // namespace luss
