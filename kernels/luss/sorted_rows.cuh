/* Rows in order of labels and in pieces, for kernels that add them up (centroid_sums.cuh, fixed_sums.cuh): the launches that sort, the scratch
   memory these need, which rows a piece has, and how four columns of a row are read. */
#pragma once
#include <cstdint>

#include "luss/label_sort.cuh"
#ifndef LUSS_CUDA_ON_CPU
#include <cuda_fp16.h>
#endif

namespace luss {

constexpr int PIECE_ROWS = 512, SUM_COLUMNS = 128, SUM_WARPS = 4, SUMS_MAX_K = 4096;

/* Four neighbours of a row; `left` of them are there. */
__device__ __forceinline__ void four_of(const float* row, int left, bool quad, float (&v)[4]) {
    if (quad) {
        const float4 all = *reinterpret_cast<const float4*>(row);
        v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
    } else {
        for (int i = 0; i < 4; ++i) v[i] = i < left ? row[i] : 0.0f;
    }
}
__device__ __forceinline__ void four_of(const __half* row, int left, bool quad, float (&v)[4]) {
    if (quad) {
        const uint2 all = *reinterpret_cast<const uint2*>(row);
        const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&all.x));
        const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&all.y));
        v[0] = low.x, v[1] = low.y, v[2] = high.x, v[3] = high.y;
    } else {
        for (int i = 0; i < 4; ++i) v[i] = i < left ? __half2float(row[i]) : 0.0f;
    }
}

/* found: first and past the last of the sorted rows that piece `number` has, and their label. start and piece: of one set. */
__device__ __forceinline__ void piece_of(const int32_t* start, const int32_t* piece, int k, int rows, int number, int (&found)[3]) {
    int low = 0, high = k; // the last label that begins at or before this piece and has one
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (piece[middle] <= number) low = middle;
        else high = middle;
    }
    const int first = start[low] + (number - piece[low]) * rows;
    found[0] = first, found[1] = min(first + rows, start[low + 1]), found[2] = low;
}

/* What sort_rows makes for each of r sets of labels: start and piece (r, k + 1), ids (r, n); table (r, tables, k) is its own. */
struct sorted_rows {
    int32_t *table, *start, *piece, *ids;
};

/* Where these lie in scratch memory, and at most how many pieces a set has. */
struct sort_scratch {
    int64_t tables, pieces;
    size_t table, start, piece, ids, bytes = 0;
    sort_scratch(int64_t n, int k, int r, int rows) {
        tables = (n + SORT_ROWS - 1) / SORT_ROWS, pieces = n / rows + (n < k ? n : k);
        table = take(sizeof(int32_t) * r * tables * k);
        start = take(sizeof(int32_t) * r * (k + 1));
        piece = take(sizeof(int32_t) * r * (k + 1));
        ids = take(sizeof(int32_t) * r * n);
    }
    sorted_rows in(unsigned char* base) const {
        return {reinterpret_cast<int32_t*>(base + table), reinterpret_cast<int32_t*>(base + start), reinterpret_cast<int32_t*>(base + piece),
                reinterpret_cast<int32_t*>(base + ids)};
    }

  protected:
    size_t take(size_t size) {
        const size_t at = bytes;
        bytes += (size + 255) / 256 * 256;
        return at;
    }
};

/* label (r, n), n at least 1; counts (r, k): how many rows each label has. */
inline cudaError_t sort_rows(const int32_t* label, int64_t n, int k, int r, int rows, const sort_scratch& at, const sorted_rows& to, int64_t* counts,
                             cudaStream_t stream) {
    const dim3 tables(static_cast<unsigned>(at.tables), r), labels((k + 127) / 128, r), sets(1, r);
    const size_t shared_bytes = sizeof(int32_t) * k;
    cudaError_t error;
    LUSS_LAUNCH(count_labels_kernel, tables, 256, shared_bytes, stream, label, n, k, to.table);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    LUSS_LAUNCH(add_tables_kernel, labels, 128, 0, stream, to.table, at.tables, k, counts);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    LUSS_LAUNCH(start_labels_kernel, sets, 1024, 0, stream, counts, k, rows, to.start, to.piece);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    LUSS_LAUNCH(place_rows_kernel, tables, 32, shared_bytes, stream, label, n, k, to.table, to.start, to.ids);
    return cudaGetLastError();
}

} // namespace luss
