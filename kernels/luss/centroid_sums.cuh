/* Sums and counts of rows per label, and sums of scores: the update step of k-means.                        hot path K3
   x (n, d) fp16 or fp32, label (n,) int32;  sums (k, d) fp64, counts (k,) int64. Labels outside 0..k - 1 count for nothing. NaN and infinity
   stay in the sums of their label. n < 2^31 - 1, may be 0; k 1..4096; d from 1. Nothing waits. Gradient: none.

   Deterministic: one order of additions, whatever the card and its scheduling. Rows are sorted by label (label_sort.cuh, stable), each label
   is cut into pieces of PIECE_ROWS rows; 4 warps take every fourth row of a piece and add it in float-float arithmetic (two_sum, after Knuth:
   the rounding error of every addition is added up beside the sum), then fp64 adds warps in order, and pieces in order. Error of a
   column at most 2^-41 of its sum of absolute values; fp16 features below 500 are added exactly, as they are multiples of 2^-24 and the error
   term, at most 128 half units of a sum below 2^16, keeps all its bits: their sums do not depend on the order at all.
   Why not fp64 for every number: GeForce does 2 conversions and 2 additions of fp64 a cycle and SM, 105 G numbers a second on the 2080 Ti, and
   memory brings 265 G in fp16; 7 fp32 operations each are 28 % of what the card does in fp32. Why not atomics: fp64 and float ones have no
   order, and fixed-point ones write n d 8 bytes.

   Least traffic: x once and the labels, n (d words + 4). Moved: x once by rows, 128 columns at a time (256 or 512 bytes in one stretch); 16 n of
   labels and ids, 6 n of tables at k = 2048; partial sums, 16 d bytes for every 512 rows. At d = 128 fp16: 256 n least, 282 n moved: 0.91;
   at d = 2048 0.98. Goal 0.7 of copy bandwidth.
   Versions: v1, this one; not timed: no GPU was at hand. sm_75 and later; static shared memory at most 8 kB, dynamic 4 k bytes, at most 16 kB. */
#pragma once
#include <cstdint>

#include "luss/sorted_rows.cuh"

namespace luss {

/* s + v without its rounding error, which is added to e. Never contracted or reordered, as every operation names its rounding. */
__device__ __forceinline__ void two_sum(float& s, float& e, float v) {
    const float t = __fadd_rn(s, v), back = __fsub_rn(t, s);
    e = __fadd_rn(e, __fadd_rn(__fsub_rn(s, __fsub_rn(t, back)), __fsub_rn(v, back)));
    s = t;
}
/* What two_sum has found. Infinite sums make the error NaN, which does not count. */
__device__ __forceinline__ double two_parts(float s, float e) {
    const bool finite = (__float_as_uint(s) & 0x7f800000u) != 0x7f800000u;
    return finite ? static_cast<double>(s) + static_cast<double>(e) : static_cast<double>(s);
}

/* partial (pieces, d) fp64: sums of each piece. Blocks (columns / 128, any), so that the blocks of a row's columns run together. */
template <class X>
__global__ void __launch_bounds__(32 * SUM_WARPS) sum_pieces_kernel(const X* __restrict__ x, const int32_t* __restrict__ ids, int d, int k,
                                                                  const int32_t* __restrict__ start, const int32_t* __restrict__ piece, int rows,
                                                                  double* __restrict__ partial) {
    __shared__ double found[SUM_WARPS - 1][SUM_COLUMNS];
    __shared__ int range[3];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * SUM_COLUMNS + 4 * lane, left = d - column;
    const bool quad = left >= 4 && d % 4 == 0 && reinterpret_cast<uintptr_t>(x) % (4 * sizeof(X)) == 0;
    for (int number = blockIdx.y; number < piece[k]; number += gridDim.y) {
        if (threadIdx.x == 0) piece_of(start, piece, k, rows, number, range);
        __syncthreads();
        float s[4] = {0, 0, 0, 0}, e[4] = {0, 0, 0, 0};
        const int last = range[1];
        if (left > 0) {
            int at = range[0] + warp;
            for (; at + 3 * SUM_WARPS < last; at += 4 * SUM_WARPS) { // four rows asked for at once
                float v[4][4];
#pragma unroll
                for (int i = 0; i < 4; ++i) four_of(x + static_cast<int64_t>(ids[at + i * SUM_WARPS]) * d + column, left, quad, v[i]);
#pragma unroll
                for (int i = 0; i < 4; ++i)
#pragma unroll
                    for (int j = 0; j < 4; ++j) two_sum(s[j], e[j], v[i][j]);
            }
            for (; at < last; at += SUM_WARPS) {
                float v[4];
                four_of(x + static_cast<int64_t>(ids[at]) * d + column, left, quad, v);
#pragma unroll
                for (int j = 0; j < 4; ++j) two_sum(s[j], e[j], v[j]);
            }
        }
        if (warp > 0)
            for (int j = 0; j < 4; ++j) found[warp - 1][4 * lane + j] = two_parts(s[j], e[j]);
        __syncthreads();
        if (warp == 0)
            for (int j = 0; j < 4 && j < left; ++j) {
                double sum = two_parts(s[j], e[j]);
                for (int w = 0; w < SUM_WARPS - 1; ++w) sum += found[w][4 * lane + j];
                partial[static_cast<int64_t>(number) * d + column + j] = sum;
            }
        __syncthreads();
    }
}

/* sums (k, d): the pieces of each label in order. Blocks (columns / 128, labels). */
__global__ void __launch_bounds__(128) add_pieces_kernel(const double* __restrict__ partial, const int32_t* __restrict__ piece, int d,
                                                       double* __restrict__ sums) {
    const int column = blockIdx.x * 128 + threadIdx.x, label = blockIdx.y;
    if (column >= d) return;
    double sum = 0;
    for (int number = piece[label]; number < piece[label + 1]; ++number) sum += partial[static_cast<int64_t>(number) * d + column];
    sums[static_cast<int64_t>(label) * d + column] = sum;
}

/* Where the parts of the scratch memory lie. */
struct sums_scratch : sort_scratch {
    size_t partial;
    sums_scratch(int64_t n, int d, int k, int rows) : sort_scratch(n, k, 1, rows) { partial = take(sizeof(double) * pieces * d); }
};

/* Bytes of scratch memory of centroid_sums: 4 n + k n / 1024 + 8 d (n / 512 + k), about. */
inline size_t centroid_sums_scratch(int64_t n, int d, int k) { return sums_scratch(n, d, k, PIECE_ROWS).bytes; }

template <class X>
inline cudaError_t centroid_sums_in_pieces(const X* x, const int32_t* label, int64_t n, int d, int k, int rows, double* sums, int64_t* counts,
                                           void* scratch, size_t scratch_bytes, cudaStream_t stream) {
    const sums_scratch at(n, d, k, rows);
    if (scratch_bytes < at.bytes || reinterpret_cast<uintptr_t>(scratch) % 256 != 0) return cudaErrorInvalidValue;
    if (n == 0) {
        const cudaError_t error = cudaMemsetAsync(counts, 0, sizeof(int64_t) * k, stream);
        return error == cudaSuccess ? cudaMemsetAsync(sums, 0, sizeof(double) * k * d, stream) : error;
    }
    unsigned char* const base = static_cast<unsigned char*>(scratch);
    const sorted_rows sorted = at.in(base);
    double* const partial = reinterpret_cast<double*>(base + at.partial);
    const unsigned columns = (d + SUM_COLUMNS - 1) / SUM_COLUMNS;
    cudaError_t error = sort_rows(label, n, k, 1, rows, at, sorted, counts, stream);
    if (error != cudaSuccess) return error;
    const dim3 pieces(columns, static_cast<unsigned>(at.pieces < 65535 ? at.pieces : 65535)), labels(columns, k);
    LUSS_LAUNCH((sum_pieces_kernel<X>), pieces, 32 * SUM_WARPS, 0, stream, x, sorted.ids, d, k, sorted.start, sorted.piece, rows, partial);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    LUSS_LAUNCH(add_pieces_kernel, labels, 128, 0, stream, partial, sorted.piece, d, sums);
    return cudaGetLastError();
}

/* On `stream`. x_half: 0 fp32, 1 fp16. scratch: centroid_sums_scratch bytes, 256-byte aligned. Returns the first error;
   cudaErrorInvalidValue for sizes out of range and too little scratch. */
inline cudaError_t centroid_sums(const void* x, int x_half, const int32_t* label, int64_t n, int d, int k, double* sums, int64_t* counts,
                                 void* scratch, size_t scratch_bytes, cudaStream_t stream) {
    if (n < 0 || n >= 0x7fffffff || d < 1 || k < 1 || k > SUMS_MAX_K) return cudaErrorInvalidValue;
    if (x_half)
        return centroid_sums_in_pieces(static_cast<const __half*>(x), label, n, d, k, PIECE_ROWS, sums, counts, scratch, scratch_bytes, stream);
    return centroid_sums_in_pieces(static_cast<const float*>(x), label, n, d, k, PIECE_ROWS, sums, counts, scratch, scratch_bytes, stream);
}

constexpr int SCORE_PARTS = 128, SCORE_THREADS = 256;

/* parts (r, 128) fp64: each of 128 blocks adds its share of a row of score (r, n), in an order that n alone decides; then the same kernel with
   parts as its input adds those up. */
template <class T>
__global__ void __launch_bounds__(SCORE_THREADS) sum_scores_kernel(const T* __restrict__ score, int64_t n, double* __restrict__ parts) {
    __shared__ double found[SCORE_THREADS];
    const T* row = score + blockIdx.y * n;
    double sum = 0;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * SCORE_THREADS + threadIdx.x; i < n; i += static_cast<int64_t>(gridDim.x) * SCORE_THREADS)
        sum += static_cast<double>(row[i]);
    found[threadIdx.x] = sum;
    __syncthreads();
    for (int step = SCORE_THREADS / 2; step > 0; step /= 2) {
        if (static_cast<int>(threadIdx.x) < step) found[threadIdx.x] += found[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x == 0) parts[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = found[0];
}

inline size_t score_sums_scratch(int r) { return sizeof(double) * SCORE_PARTS * r; }

/* totals (r,) fp64: sums of score (r, n) fp32, the objective of k-means for each set of centroids; deterministic. n may be 0; r 1..65535. */
inline cudaError_t score_sums(const float* score, int64_t n, int r, double* totals, void* scratch, size_t scratch_bytes, cudaStream_t stream) {
    if (n < 0 || r < 1 || r > 65535 || scratch_bytes < score_sums_scratch(r)) return cudaErrorInvalidValue;
    double* const parts = static_cast<double*>(scratch);
    const dim3 many(SCORE_PARTS, r), one(1, r);
    LUSS_LAUNCH((sum_scores_kernel<float>), many, SCORE_THREADS, 0, stream, score, n, parts);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) return error;
    LUSS_LAUNCH((sum_scores_kernel<double>), one, SCORE_THREADS, 0, stream, parts, int64_t(SCORE_PARTS), totals);
    return cudaGetLastError();
}

} // namespace luss
