/* The fp32 mode of nearest_centroid, which also decides listed rows again: FFMA on a tile of rows x centroids in registers.
   A score is one chain of fused multiply-adds from 0 over i = 0..d - 1, then + bias: whoever computes it so gets the same bits
   (`chain_score`, `score_rows_kernel`). A block has 16 x 16 threads of ROWS / 16 x COLUMNS / 16 scores each.
   Per step of i and thread: 64 FFMA and 4 loads of 16 bytes from shared memory, which is 128 of 256 cycles of an SM's shared memory. */
#pragma once
#include <cstdint>

#include "luss/nearest_centroid_prepare.cuh"

namespace luss {

template <int ROWS_, int COLUMNS_> struct fp32_tile {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = 8, THREADS = 256;
    static constexpr int ROW_GROUPS = ROWS / 64, COLUMN_GROUPS = COLUMNS / 64; // of 4 neighbours each
    static constexpr int A_PITCH = ROWS + 4, B_PITCH = COLUMNS + 4;            // transposed stores without bank conflicts, 16-byte alignment
};

/* Four neighbours of a row from `i` on as they lie in memory, zeros past d; `quad`: d and the pointer allow one load. */
__device__ __forceinline__ float4 load_four(const float* row, int i, int d, bool quad) {
    if (quad) return i < d ? *reinterpret_cast<const float4*>(row + i) : make_float4(0, 0, 0, 0);
    return make_float4(i < d ? row[i] : 0, i + 1 < d ? row[i + 1] : 0, i + 2 < d ? row[i + 2] : 0, i + 3 < d ? row[i + 3] : 0);
}
__device__ __forceinline__ uint2 load_four(const __half* row, int i, int d, bool quad) {
    if (quad) return i < d ? *reinterpret_cast<const uint2*>(row + i) : make_uint2(0, 0);
    uint32_t bits[4];
    for (int j = 0; j < 4; ++j) bits[j] = i + j < d ? __half_as_ushort(row[i + j]) : 0;
    return make_uint2(bits[0] | bits[1] << 16, bits[2] | bits[3] << 16);
}
__device__ __forceinline__ float4 four_floats(float4 v) { return v; }
__device__ __forceinline__ float4 four_floats(uint2 v) {
    const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&v.x)), high = __half22float2(*reinterpret_cast<const __half2*>(&v.y));
    return make_float4(low.x, low.y, high.x, high.y);
}
template <class T> __device__ __forceinline__ bool quads_allowed(const T* at, int d) {
    return d % 4 == 0 && reinterpret_cast<uintptr_t>(at) % (4 * sizeof(T)) == 0;
}

/* <x, c> + bias as the tiles compute it. */
template <class X> __device__ __forceinline__ float chain_score(const X* x, const float* c, int d, float bias) {
    float sum = 0;
    const bool quad = quads_allowed(x, d) && quads_allowed(c, d);
    for (int i = 0; i < d; i += 4) {
        const float4 a = four_floats(load_four(x, i, d, quad)), b = load_four(c, i, d, quad);
        sum = fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum)))); // past d: + 0 * 0
    }
    return sum + bias;
}

/* The squared distance, or the score itself for `cosine`. NaN stays. */
__device__ __forceinline__ float final_score(float square, float score, int cosine) {
    if (cosine) return score;
    const float distance = fmaf(-2.0f, score, square);
    return distance < 0.0f ? 0.0f : distance;
}

/* Rows without any score above -inf: the first centroid whose score is not NaN; with none, 0 and NaN. Rare, hence slow. */
template <class X> __device__ void decide_by_hand(const X* x, const float* c, const float* bias, int d, int k, int& id, float& score) {
    for (id = 0; id < k; ++id) {
        score = chain_score(x, c + static_cast<int64_t>(id) * d, d, bias[id]);
        if (score == score) return;
    }
    id = 0;
}

/* Labels and scores of x (n, d), or of its rows that `rows` (r, row_room) lists, counts[2 * restart + 1] of them. Blocks (tiles, r).
   `stride`: rows of label and score (r, stride); score may be null. */
template <class X, class Tile>
__global__ void __launch_bounds__(Tile::THREADS, 2)
    nearest_fp32_kernel(const X* __restrict__ x, const float* __restrict__ c, const float* __restrict__ bias, int64_t n, int d, int k, int kp,
                        int cosine, const int32_t* __restrict__ rows, int64_t row_room, const int32_t* __restrict__ counts, int64_t stride,
                        int32_t* __restrict__ label, float* __restrict__ score) {
    constexpr int TM = 4 * Tile::ROW_GROUPS, TN = 4 * Tile::COLUMN_GROUPS;
    __shared__ __align__(16) float a_tile[2][Tile::DEPTH][Tile::A_PITCH];
    __shared__ __align__(16) float b_tile[2][Tile::DEPTH][Tile::B_PITCH];
    __shared__ float found_score[Tile::ROWS];
    __shared__ int found_id[Tile::ROWS];
    const int thread = threadIdx.x, column_thread = thread % 16, row_thread = thread / 16, restart = blockIdx.y;
    c += static_cast<int64_t>(restart) * k * d;
    bias += static_cast<int64_t>(restart) * kp;
    if (rows) rows += restart * row_room, n = counts[2 * restart + 1];
    const bool x_quads = quads_allowed(x, d), c_quads = quads_allowed(c, d);
    const int part = thread / 2, from = thread % 2 * 4; // what this thread loads: a row of either tile, 4 of its 8 columns

    for (int64_t first = static_cast<int64_t>(blockIdx.x) * Tile::ROWS; first < n; first += static_cast<int64_t>(gridDim.x) * Tile::ROWS) {
        const int64_t mine = first + part;
        const bool has_row = part < Tile::ROWS && mine < n;
        const X* x_row = x + (has_row ? (rows ? rows[mine] : mine) : 0) * static_cast<int64_t>(d);
        float best[TM], square = 0;
        int id[TM];
#pragma unroll
        for (int i = 0; i < TM; ++i) best[i] = -INFINITY, id[i] = 0x7fffffff;

        decltype(load_four(x_row, 0, d, true)) next_a;
        float4 next_b;
        const auto load = [&](int column, int depth) {
            next_a = load_four(x_row, depth + from, has_row ? d : 0, x_quads);
            const bool has_column = part < Tile::COLUMNS && column + part < k;
            next_b = has_column ? load_four(c + static_cast<int64_t>(column + part) * d, depth + from, d, c_quads) : make_float4(0, 0, 0, 0);
        };
        const auto store = [&](int buffer) {
            const float4 rows_part = four_floats(next_a);
            const float a[4] = {rows_part.x, rows_part.y, rows_part.z, rows_part.w}, b[4] = {next_b.x, next_b.y, next_b.z, next_b.w};
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if (part < Tile::ROWS) a_tile[buffer][from + i][part] = a[i];
                if (part < Tile::COLUMNS) b_tile[buffer][from + i][part] = b[i];
            }
        };
        load(0, 0);
        store(0);
        __syncthreads();
        int buffer = 0;
        for (int column = 0; column < k; column += Tile::COLUMNS) {
            float sum[TM][TN] = {};
            for (int depth = 0; depth < d; depth += Tile::DEPTH, buffer ^= 1) {
                const bool wraps = depth + Tile::DEPTH >= d, last = wraps && column + Tile::COLUMNS >= k;
                if (!last) load(wraps ? column + Tile::COLUMNS : column, wraps ? 0 : depth + Tile::DEPTH);
#pragma unroll
                for (int i = 0; i < Tile::DEPTH; ++i) {
                    float a[TM], b[TN];
#pragma unroll
                    for (int g = 0; g < Tile::ROW_GROUPS; ++g)
                        *reinterpret_cast<float4*>(a + 4 * g) = *reinterpret_cast<const float4*>(&a_tile[buffer][i][64 * g + 4 * row_thread]);
#pragma unroll
                    for (int g = 0; g < Tile::COLUMN_GROUPS; ++g)
                        *reinterpret_cast<float4*>(b + 4 * g) = *reinterpret_cast<const float4*>(&b_tile[buffer][i][64 * g + 4 * column_thread]);
#pragma unroll
                    for (int m = 0; m < TM; ++m)
#pragma unroll
                        for (int j = 0; j < TN; ++j) sum[m][j] = fmaf(a[m], b[j], sum[m][j]);
                }
                if (column == 0 && thread < Tile::ROWS) // |x|^2, once
                    for (int i = 0; i < Tile::DEPTH; ++i) square = fmaf(a_tile[buffer][i][thread], a_tile[buffer][i][thread], square);
                if (!last) store(buffer ^ 1);
                __syncthreads();
            }
#pragma unroll
            for (int j = 0; j < TN; ++j) { // ascending ids, so that > keeps the smallest of equals
                const int at = column + j / 4 * 64 + 4 * column_thread + j % 4;
                const float shift = bias[at];
#pragma unroll
                for (int m = 0; m < TM; ++m) {
                    const float value = sum[m][j] + shift;
                    if (value > best[m]) best[m] = value, id[m] = at;
                }
            }
        }
#pragma unroll
        for (int m = 0; m < TM; ++m) {
#pragma unroll
            for (int step = 8; step > 0; step /= 2) {
                const float other = __shfl_xor_sync(0xffffffffu, best[m], step);
                const int other_id = __shfl_xor_sync(0xffffffffu, id[m], step);
                if (other > best[m] || (other == best[m] && other_id < id[m])) best[m] = other, id[m] = other_id;
            }
            const int row = m / 4 * 64 + 4 * row_thread + m % 4;
            if (column_thread == 0) found_score[row] = best[m], found_id[row] = id[m];
        }
        __syncthreads();
        if (thread < Tile::ROWS && first + thread < n) {
            const int64_t row = rows ? rows[first + thread] : first + thread;
            float value = found_score[thread];
            int which = found_id[thread];
            if (!(value > -INFINITY)) decide_by_hand(x + row * d, c, bias, d, k, which, value);
            label[restart * stride + row] = which;
            if (score) score[restart * stride + row] = final_score(square, value, cosine);
        }
        __syncthreads(); // the tile and what was found are used again
    }
}

constexpr int SCORE_ROWS = 64, SCORE_DEPTH = 32;

/* score (r, stride) of rows whose labels are known: the bits that nearest_fp32_kernel gives. Blocks (n / 64, r), a thread a row. */
template <class X>
__global__ void __launch_bounds__(SCORE_ROWS) score_rows_kernel(const X* __restrict__ x, const float* __restrict__ c, const float* __restrict__ bias,
                                                              int64_t n, int d, int k, int kp, int cosine, int64_t stride,
                                                              const int32_t* __restrict__ label, float* __restrict__ score) {
    __shared__ float x_part[SCORE_ROWS][SCORE_DEPTH + 1], c_part[SCORE_ROWS][SCORE_DEPTH + 1];
    __shared__ int ids[SCORE_ROWS];
    const int thread = threadIdx.x, lane = thread % 32, restart = blockIdx.y;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * SCORE_ROWS, row = first + thread;
    const int present = static_cast<int>(n - first < SCORE_ROWS ? n - first : SCORE_ROWS);
    c += static_cast<int64_t>(restart) * k * d;
    ids[thread] = thread < present ? label[restart * stride + row] : 0;
    __syncthreads();
    float sum = 0, square = 0;
    for (int depth = 0; depth < d; depth += SCORE_DEPTH) {
        const int i = depth + lane;
        for (int at = thread / 32; at < SCORE_ROWS; at += SCORE_ROWS / 32) {
            x_part[at][lane] = at < present && i < d ? as_float(x[(first + at) * d + i]) : 0.0f;
            c_part[at][lane] = i < d ? c[static_cast<int64_t>(ids[at]) * d + i] : 0.0f;
        }
        __syncthreads();
#pragma unroll 8
        for (int j = 0; j < SCORE_DEPTH; ++j) {
            sum = fmaf(x_part[thread][j], c_part[thread][j], sum);
            square = fmaf(x_part[thread][j], x_part[thread][j], square);
        }
        __syncthreads();
    }
    if (thread < present) score[restart * stride + row] = final_score(square, sum + bias[static_cast<int64_t>(restart) * kp + ids[thread]], cosine);
}

} // namespace luss
