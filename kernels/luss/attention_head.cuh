/* The attention head at inference, from a small map to pooled vectors or attention (spec/sampass.md 6.3 K1).           hot path P1
   features (n, c, h, w);  weight1, weight2 (c, c);  scale and shift of each (c,): all float32, 16-byte aligned.  P = 16 h w, C = c.
   hidden = relu(scale1 (W1 v) + shift1), s = sigmoid(scale2 (W2 hidden) + shift2) for each pixel's unit vector v = u / |u|, u = features
   enlarged four times;  pooled (n, c) = 1/P sum over p of u s;  attention (n, 4h, 4w) = 1/C sum over c of s.  Gradient: none.
   W1 v = enlarged(W1 f) / |u|, so the first product has P / 16 columns.
   Least work an image: 2 C^2 (P + P / 16); c = 2048, 7 x 7: 6.99 GFLOP, 0.52 ms at 13.4 TFLOP/s. Least traffic: features and results, 0.4 MB.
   This version (fp32): launch 1 norms (pixel_norms.cuh); launch 2 scale1 W1 f, stored (1/16 of an enlarged map); launch 3 W2 hidden by tiles
   of 128 channels x 64 pixels x 8 of the depth, hidden made in the prologue (6 loads and some 30 instructions for a quad: 6 % of the
   tile's 512 multiply-adds a thread), sigmoid, enlarged features and sums in the epilogue; launch 4 adds the tiles' shares in order.
   Neither z, hidden nor u is stored. A step of the depth: 4 shared loads of 16 bytes for 64 multiply-adds a thread, no bank conflicts; W2 is
   read once per 64 pixels: 32 operations a byte from L2.  Expected on sm_75: 64 of about 72 instructions of the inner loop are
   multiply-adds, and 6 % prologue: some 80 % of the fp32 rate, if the 12 warps of an SM hide the latency. No atomics.
   Versions: v0, 4 blocks an SM (128 registers): 56 to 140 bytes of spills in launches 2 and 3; v1, this one, 3 blocks. Not timed: no GPU at hand.
   sm_75 and later; static shared memory 13 KB. Registers of launches 2 and 3 for sm_75, 80, 86, 90: 149, 149, 157, 159 and 159, 159, 167, 167;
   no spills (nvcc 13, --use_fast_math). */
#pragma once
#include "luss/pixel_norms.cuh"

namespace luss {

constexpr int HEAD_ROWS = 128, HEAD_COLUMNS = 64, HEAD_DEPTH = 8, HEAD_THREADS = 128;
constexpr int HEAD_QUADS = HEAD_COLUMNS / 4;

struct alignas(16) head_shared {
    float a[2][HEAD_DEPTH][HEAD_ROWS], b[2][HEAD_DEPTH][HEAD_COLUMNS];
};

/* Columns of launch 2: (c, n small) of features (n, c, small); a thread's four. */
struct small_columns {
    const float* at[4];
    int64_t small;

    __device__ small_columns(const float* features, int64_t first, int64_t count, int c, int64_t plane) : small(plane) {
        for (int i = 0; i < 4; ++i) at[i] = first + i < count ? features + (first + i) / plane * c * plane + (first + i) % plane : nullptr;
    }
    __device__ quad value(int k) const {
        quad q;
        for (int i = 0; i < 4; ++i) q.v[i] = at[i] == nullptr ? 0.0f : at[i][k * small];
        return q;
    }
};

/* Columns of launch 3: the hidden layer at four neighbours. */
struct hidden_columns {
    const float *mixed, *shift;
    int64_t small;
    quad_taps taps;
    quad over;
    bool inside;

    __device__ hidden_columns(const float* image, const float* inverse, const float* shift1, int number, int h, int w)
        : mixed(image), shift(shift1), small(static_cast<int64_t>(h) * w), taps(quad_taps::of(number < 4 * h * w ? number : 0, h, w)),
          over{{0, 0, 0, 0}}, inside(number < 4 * h * w) {
        if (inside) over = load_quad(inverse + 4 * static_cast<int64_t>(number));
    }
    __device__ quad value(int k) const {
        quad q = taps.value(mixed + k * small);
        for (int i = 0; i < 4; ++i) {
            const float v = q.v[i] * over.v[i] + shift[k];
            q.v[i] = !inside || v < 0.0f ? 0.0f : v; // NaN stays NaN
        }
        return q;
    }
};

/* Row i and column j of a thread's 8 x 8 sums, in the block's tile. */
__device__ __forceinline__ int head_row(int i) { return i / 4 * (HEAD_ROWS / 2) + static_cast<int>(threadIdx.x) / 8 * 4 + i % 4; }
__device__ __forceinline__ int head_column(int j) { return j / 4 * (HEAD_COLUMNS / 2) + static_cast<int>(threadIdx.x) % 8 * 4 + j % 4; }

/* Depth k .. k + 7 of the factors, in registers: 8 of a row of the weights, a quad of one row of the columns. */
struct head_fetch {
    float a[HEAD_DEPTH];
    quad b;

    template <class Columns> __device__ void get(const float* __restrict__ weight, int c, int row, int k, const Columns& columns) {
        const float* from = weight + static_cast<int64_t>(row) * c + k;
        if (row < c && k + HEAD_DEPTH <= c && c % 4 == 0) {
            for (int half = 0; half < 2; ++half) {
                const quad four = load_quad(from + 4 * half);
                for (int i = 0; i < 4; ++i) a[4 * half + i] = four.v[i];
            }
        } else {
            for (int i = 0; i < HEAD_DEPTH; ++i) a[i] = row < c && k + i < c ? from[i] : 0.0f;
        }
        const int own = k + static_cast<int>(threadIdx.x) / HEAD_QUADS;
        b = own < c ? columns.value(own) : quad{{0, 0, 0, 0}};
    }
    __device__ void put(head_shared& shared, int side) const {
        for (int i = 0; i < HEAD_DEPTH; ++i) shared.a[side][i][threadIdx.x] = a[i];
        store_quad(&shared.b[side][threadIdx.x / HEAD_QUADS][4 * (threadIdx.x % HEAD_QUADS)], b);
    }
};

/* sum = rows [row, row + 128) of weight (c, c) times the block's columns. */
template <class Columns>
__device__ __forceinline__ void head_product(const float* __restrict__ weight, int c, int row, const Columns& columns, head_shared& shared,
                                             float (&sum)[8][8]) {
    head_fetch next;
    next.get(weight, c, row + static_cast<int>(threadIdx.x), 0, columns);
    next.put(shared, 0);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] = 0.0f;
    int side = 0;
    for (int k = 0; k < c; k += HEAD_DEPTH) {
        const bool more = k + HEAD_DEPTH < c;
        if (more) next.get(weight, c, row + static_cast<int>(threadIdx.x), k + HEAD_DEPTH, columns);
#pragma unroll
        for (int step = 0; step < HEAD_DEPTH; ++step) {
            quad a[2], b[2];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                a[half] = load_quad(&shared.a[side][step][head_row(4 * half)]);
                b[half] = load_quad(&shared.b[side][step][head_column(4 * half)]);
            }
#pragma unroll
            for (int i = 0; i < 8; ++i)
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[i][j] += a[i / 4].v[i % 4] * b[j / 4].v[j % 4];
        }
        side ^= 1;
        if (more) next.put(shared, side); // nobody has read this side since the last barrier
        __syncthreads();
    }
}

/* Launch 2: mixed (n, c, small) = scale W f. */
__global__ void __launch_bounds__(HEAD_THREADS, 3) head_mix_kernel(const float* __restrict__ features, const float* __restrict__ weight,
                                                                 const float* __restrict__ scale, int64_t n, int c, int64_t small, int row_tiles,
                                                                 float* __restrict__ mixed) {
    __shared__ head_shared shared;
    const int row = blockIdx.x % row_tiles * HEAD_ROWS;
    const int64_t first = static_cast<int64_t>(blockIdx.x / row_tiles) * HEAD_COLUMNS, count = n * small;
    float sum[8][8];
    head_product(weight, c, row, small_columns(features, first + 4 * (threadIdx.x % HEAD_QUADS), count, c, small), shared, sum);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
        const int64_t column = first + head_column(j);
        if (column >= count) continue;
        float* to = mixed + column / small * c * small + column % small;
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (row + head_row(i) < c) to[(row + head_row(i)) * small] = scale[row + head_row(i)] * sum[i][j];
    }
}

/* What launch 3 leaves: shares (n, column tiles, c) of pooled, maps (n, row tiles, pixels) of attention; each may be null. */
struct head_shares {
    float *pooled, *attention;
};

__global__ void __launch_bounds__(HEAD_THREADS, 3) head_attend_kernel(const float* __restrict__ features, const float* __restrict__ mixed,
                                                                    const float* __restrict__ inverse, const float* __restrict__ shift1,
                                                                    const float* __restrict__ weight, const float* __restrict__ scale,
                                                                    const float* __restrict__ shift, int c, int h, int w, int row_tiles,
                                                                    int column_tiles, head_shares shares) {
    __shared__ head_shared shared;
    __shared__ float lines[HEAD_THREADS / 32][HEAD_COLUMNS];
    const int row_tile = blockIdx.x % row_tiles, column_tile = blockIdx.x / row_tiles % column_tiles, row = row_tile * HEAD_ROWS;
    const int64_t image = blockIdx.x / row_tiles / column_tiles, small = static_cast<int64_t>(h) * w, pixels = 16 * small;
    const int first = column_tile * HEAD_QUADS, quads = 4 * h * w;
    float sum[8][8];
    {
        const int own = first + static_cast<int>(threadIdx.x) % HEAD_QUADS;
        head_product(weight, c, row, hidden_columns(mixed + image * c * small, inverse + image * pixels, shift1, own, h, w), shared, sum);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int channel = row + head_row(i);
        const float by = channel < c ? scale[channel] : 0.0f, plus = channel < c ? shift[channel] : 0.0f;
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] = channel < c ? logistic(by * sum[i][j] + plus).value : 0.0f;
    }
    if (shares.attention != nullptr) {
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            float total = 0.0f;
#pragma unroll
            for (int i = 0; i < 8; ++i) total += sum[i][j];
            total += __shfl_xor_sync(0xffffffffu, total, 8);
            total += __shfl_xor_sync(0xffffffffu, total, 16);
            if (threadIdx.x % 32 < 8) lines[threadIdx.x / 32][head_column(j)] = total;
        }
        __syncthreads();
        const int64_t pixel = 4 * static_cast<int64_t>(first) + threadIdx.x;
        if (threadIdx.x < HEAD_COLUMNS && pixel < pixels) {
            float total = 0.0f;
            for (int warp = 0; warp < HEAD_THREADS / 32; ++warp) total += lines[warp][threadIdx.x];
            shares.attention[(image * row_tiles + row_tile) * pixels + pixel] = total;
        }
    }
    if (shares.pooled == nullptr) return;
    quad_taps taps[2];
    bool inside[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int number = first + head_column(4 * half) / 4;
        inside[half] = number < quads;
        taps[half] = quad_taps::of(inside[half] ? number : 0, h, w);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const int channel = row + head_row(i);
        float total = 0.0f;
#pragma unroll
        for (int half = 0; half < 2; ++half)
            if (inside[half] && channel < c) {
                const quad u = taps[half].value(features + (image * c + channel) * small);
#pragma unroll
                for (int j = 0; j < 4; ++j) total += u.v[j] * sum[i][4 * half + j];
            }
        for (int step = 4; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
        if (threadIdx.x % 8 == 0 && channel < c) shares.pooled[(image * column_tiles + column_tile) * c + channel] = total;
    }
}

/* Launch 4: out (n, length) = factor * sum over tiles of shares (n, tiles, length), in order. */
__global__ void __launch_bounds__(128) head_sum_kernel(const float* __restrict__ shares, int64_t count, int64_t length, int tiles, float factor,
                                                     float* __restrict__ out) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * 128 + threadIdx.x;
    if (at >= count) return;
    const float* from = shares + at / length * tiles * length + at % length;
    float total = 0.0f;
    for (int tile = 0; tile < tiles; ++tile) total += from[tile * length];
    out[at] = factor * total;
}

/* Launches 1 and 2: 1 / norms (n, pixels), mixed (n, c, small). */
inline cudaError_t head_mix(const float* features, const float* weight1, const float* scale1, int64_t n, int c, int h, int w, float* inverse,
                            float* mixed, cudaStream_t stream) {
    const int64_t small = static_cast<int64_t>(h) * w, row_tiles = (c + HEAD_ROWS - 1) / HEAD_ROWS;
    const cudaError_t error = pixel_norms(features, n, c, h, w, inverse, stream, 1);
    if (error != cudaSuccess) return error;
    const dim3 grid(static_cast<unsigned>((n * small + HEAD_COLUMNS - 1) / HEAD_COLUMNS * row_tiles));
    LUSS_LAUNCH(head_mix_kernel, grid, dim3(HEAD_THREADS), 0, stream, features, weight1, scale1, n, c, small, static_cast<int>(row_tiles), mixed);
    return cudaGetLastError();
}

/* Launch 4, for each result that is wanted. */
inline cudaError_t head_sum(const head_shares& shares, int64_t n, int c, int64_t pixels, int row_tiles, int column_tiles, float* pooled,
                            float* attention, cudaStream_t stream) {
    const int64_t length = c;
    if (pooled != nullptr)
        LUSS_LAUNCH(head_sum_kernel, dim3(static_cast<unsigned>((n * c + 127) / 128)), dim3(128), 0, stream, shares.pooled, n * c, length,
                    column_tiles, 1.0f / static_cast<float>(pixels), pooled);
    if (attention != nullptr)
        LUSS_LAUNCH(head_sum_kernel, dim3(static_cast<unsigned>((n * pixels + 127) / 128)), dim3(128), 0, stream, shares.attention, n * pixels,
                    pixels, row_tiles, 1.0f / static_cast<float>(c), attention);
    return cudaGetLastError();
}

/* Floats of scratch that attention_head needs. */
inline size_t attention_head_scratch(int64_t n, int c, int h, int w) {
    const int64_t small = static_cast<int64_t>(h) * w, pixels = 16 * small;
    const int64_t row_tiles = (c + HEAD_ROWS - 1) / HEAD_ROWS, column_tiles = (pixels + HEAD_COLUMNS - 1) / HEAD_COLUMNS;
    return static_cast<size_t>(n * (pixels + c * small + column_tiles * c + row_tiles * pixels));
}

/* On `stream`; nothing waits. pooled and attention may each be null; n may be 0, c not. Returns the first error. */
inline cudaError_t attention_head(const float* features, const float* weight1, const float* scale1, const float* shift1, const float* weight2,
                                  const float* scale2, const float* shift2, int64_t n, int c, int h, int w, float* pooled, float* attention,
                                  float* scratch, cudaStream_t stream) {
    if (n == 0) return cudaSuccess;
    const int64_t small = static_cast<int64_t>(h) * w, pixels = 16 * small;
    const int row_tiles = (c + HEAD_ROWS - 1) / HEAD_ROWS, column_tiles = static_cast<int>((pixels + HEAD_COLUMNS - 1) / HEAD_COLUMNS);
    float* inverse = scratch;
    float* mixed = inverse + n * pixels;
    float* pool_shares = mixed + n * c * small;
    const head_shares shares = {pooled == nullptr ? nullptr : pool_shares, attention == nullptr ? nullptr : pool_shares + n * column_tiles * c};
    const cudaError_t error = head_mix(features, weight1, scale1, n, c, h, w, inverse, mixed, stream);
    if (error != cudaSuccess) return error;
    const dim3 grid(static_cast<unsigned>(n * column_tiles * row_tiles));
    LUSS_LAUNCH(head_attend_kernel, grid, dim3(HEAD_THREADS), 0, stream, features, mixed, inverse, shift1, weight2, scale2, shift2, c, h,
                w, row_tiles, column_tiles, shares);
    return head_sum(shares, n, c, pixels, row_tiles, column_tiles, pooled, attention, stream);
}

} // namespace luss
