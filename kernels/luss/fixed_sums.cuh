/* Sums and counts of rows per label in fixed point, for r sets of labels: the update step of k-means, exact.         hot path K3, fixed point
   x (n, d) fp16 or fp32, label (r, n) int32;  sums (r, k, d), counts (r, k) int64. A value counts as round(x 2^bits), halves to even: with
   bits = 24 every half has its exact value. Labels outside 0..k - 1 count for nothing. NaN and values or sums beyond 63 bits give unspecified
   sums of that label and column, nothing worse. n < 2^31 - 1, may be 0; k 1..4096; d from 1; r 1..65535; bits 0..62. Nothing waits. No gradient.

   Deterministic whatever the order: additions of whole numbers. Rows are sorted by label (label_sort.cuh), each label is cut into pieces of
   PIECE_ROWS rows; 4 warps take every fourth row of a piece and add it in registers, the block adds its warps in shared memory, and the piece
   goes to the sums with one 64-bit atomic a column. Why not a partial sum for each piece, as in centroid_sums: both move 16 d bytes a piece and
   write 8 k d (there: piece written, read, result written; here: result set to 0, added to), but partial sums are 8 d (n / 512 + k) bytes of
   scratch for each set, 0.5 GB for 30 sets of 919 x 2048, and one launch more; and sums that fit the L2 cache cost the atomics no traffic at
   all. Why not an atomic for each value: 8 bytes each way in place of 2 or 4 read, which the sort avoids for 6 n bytes of labels and ids.
   Why not __float2ll_rn: 2 a cycle and SM on sm_75 and sm_86, 210 G a second on the 2080 Ti, where memory brings 308 G halves; three
   conversions of 32 bits are 5.3 a cycle, 560 G, and some 15 operations a value are a third of what the SM can issue.

   Least traffic: x and the labels, n (d words + 4) a set that has all rows, 4 n for one that has none, and 8 k d of sums. Moved: x once for each
   set, 128 columns at a time; 16 n of labels and ids (8 n where no row counts), 3 n of tables at k = 919, sums 8 k d and 16 d a piece. At
   n = 2^18, k = 919, d = 2048 fp16, one set: 1.09 GB least, 1.12 GB moved: 0.97. Goal 0.7 of copy bandwidth. A row that is left out costs the
   reading of its label; where 5 % of the rows count, the 24 k d bytes of sums outweigh them below n = 240 k in fp16: blocks should be large.
   Versions: v1, this one; not timed: no GPU was at hand. sm_75 and later. Registers of pieces on sm_75 / 80 / 86 / 90, nvcc 13: 64 / 40 / 40 / 40,
   all warps fit; at most 99 in the sort; no spills. Static shared memory 3 kB, 8 kB in the sort; dynamic 4 k bytes, at most 16 kB. */
#pragma once
#include <cmath>
#include <cstdint>

#include "luss/sorted_rows.cuh"

namespace luss {

constexpr int FIXED_MAX_BITS = 62, FIXED_MAX_SETS = 65535;

/* v rounded half to even, modulo 2^64, for |v| < 2^63. In two parts, each exact: whole 2^32, and what is left, below 2^32. Only one of them is
   ever rounded, as a float of 2^32 is a whole number. A subnormal v that the card takes for 0 is far below a half. */
__device__ __forceinline__ unsigned long long fixed_number(float v) {
    const float size = fabsf(v), high = truncf(__fmul_rn(size, 1 / 4294967296.0f)), low = __fmaf_rn(high, -4294967296.0f, size);
    const unsigned long long whole = static_cast<unsigned long long>(__float2uint_rz(high)) << 32 | __float2uint_rn(low);
    return v < 0 ? 0 - whole : whole;
}

/* Adds each piece to its label's sums. ids (r, n), start and piece (r, k + 1); blocks (columns / 128, any, r), so that the blocks of a row's
   columns run together. */
template <class X>
__global__ void __launch_bounds__(32 * SUM_WARPS) fixed_pieces_kernel(const X* __restrict__ x, const int32_t* __restrict__ ids, int64_t n, int d,
                                                                    int k, const int32_t* __restrict__ start, const int32_t* __restrict__ piece,
                                                                    int rows, float scale, unsigned long long* __restrict__ sums) {
    __shared__ unsigned long long found[SUM_WARPS - 1][SUM_COLUMNS];
    __shared__ int range[3];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.x * SUM_COLUMNS + 4 * lane, left = d - column;
    const bool quad = left >= 4 && d % 4 == 0 && reinterpret_cast<uintptr_t>(x) % (4 * sizeof(X)) == 0;
    ids += blockIdx.z * n, start += static_cast<int64_t>(blockIdx.z) * (k + 1), piece += static_cast<int64_t>(blockIdx.z) * (k + 1);
    for (int number = blockIdx.y; number < piece[k]; number += gridDim.y) {
        if (threadIdx.x == 0) piece_of(start, piece, k, rows, number, range);
        __syncthreads();
        unsigned long long s[4] = {0, 0, 0, 0};
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
                    for (int j = 0; j < 4; ++j) s[j] += fixed_number(__fmul_rn(v[i][j], scale));
            }
            for (; at < last; at += SUM_WARPS) {
                float v[4];
                four_of(x + static_cast<int64_t>(ids[at]) * d + column, left, quad, v);
#pragma unroll
                for (int j = 0; j < 4; ++j) s[j] += fixed_number(__fmul_rn(v[j], scale));
            }
        }
        if (warp > 0)
            for (int j = 0; j < 4; ++j) found[warp - 1][4 * lane + j] = s[j];
        __syncthreads();
        if (warp == 0)
            for (int j = 0; j < 4 && j < left; ++j) {
                for (int w = 0; w < SUM_WARPS - 1; ++w) s[j] += found[w][4 * lane + j];
                atomicAdd(sums + (static_cast<int64_t>(blockIdx.z) * k + range[2]) * d + column + j, s[j]); // whole numbers: any order
            }
        __syncthreads();
    }
}

/* Bytes of scratch memory of fixed_sums: r (4 n + k n / 1024 + 8 k), about; no part of it depends on d. */
inline size_t fixed_sums_scratch(int64_t n, int d, int k, int r) {
    static_cast<void>(d);
    return sort_scratch(n, k, r, PIECE_ROWS).bytes;
}

template <class X>
inline cudaError_t fixed_sums_in_pieces(const X* x, const int32_t* label, int64_t n, int d, int k, int r, int bits, int rows, int64_t* sums,
                                        int64_t* counts, void* scratch, size_t scratch_bytes, cudaStream_t stream) {
    const sort_scratch at(n, k, r, rows);
    if (scratch_bytes < at.bytes || reinterpret_cast<uintptr_t>(scratch) % 256 != 0) return cudaErrorInvalidValue;
    cudaError_t error = cudaMemsetAsync(sums, 0, sizeof(int64_t) * r * k * d, stream);
    if (error != cudaSuccess) return error;
    if (n == 0) return cudaMemsetAsync(counts, 0, sizeof(int64_t) * r * k, stream);
    const sorted_rows sorted = at.in(static_cast<unsigned char*>(scratch));
    if ((error = sort_rows(label, n, k, r, rows, at, sorted, counts, stream)) != cudaSuccess) return error;
    const dim3 pieces((d + SUM_COLUMNS - 1) / SUM_COLUMNS, static_cast<unsigned>(at.pieces < 65535 ? at.pieces : 65535), r);
    LUSS_LAUNCH((fixed_pieces_kernel<X>), pieces, 32 * SUM_WARPS, 0, stream, x, sorted.ids, n, d, k, sorted.start, sorted.piece, rows,
                std::ldexp(1.0f, bits), reinterpret_cast<unsigned long long*>(sums));
    return cudaGetLastError();
}

/* On `stream`. x_half: 0 fp32, 1 fp16. scratch: fixed_sums_scratch bytes, 256-byte aligned. Returns the first error;
   cudaErrorInvalidValue for sizes out of range and too little scratch. */
inline cudaError_t fixed_sums(const void* x, int x_half, const int32_t* label, int64_t n, int d, int k, int r, int bits, int64_t* sums,
                              int64_t* counts, void* scratch, size_t scratch_bytes, cudaStream_t stream) {
    if (n < 0 || n >= 0x7fffffff || d < 1 || k < 1 || k > SUMS_MAX_K || r < 1 || r > FIXED_MAX_SETS || bits < 0 || bits > FIXED_MAX_BITS)
        return cudaErrorInvalidValue;
    if (x_half)
        return fixed_sums_in_pieces(static_cast<const __half*>(x), label, n, d, k, r, bits, PIECE_ROWS, sums, counts, scratch, scratch_bytes, stream);
    return fixed_sums_in_pieces(static_cast<const float*>(x), label, n, d, k, r, bits, PIECE_ROWS, sums, counts, scratch, scratch_bytes, stream);
}

} // namespace luss
