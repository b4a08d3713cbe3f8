/* Row numbers sorted by label, rows of one label in ascending order: a counting sort that is stable, so that its result has one value only.
   A warp takes SORT_ROWS consecutive rows, counts them (launch 1) and, after the counts of all warps before it and of all smaller labels are
   known (launch 2), puts them in place (launch 3); within 32 rows __match_any_sync gives each its rank among its equals.
   Traffic: labels read twice, ids written once, 12 n bytes, and 4 k tables of n / SORT_ROWS warps, 12 bytes each: 6 n bytes at k = 2048.
   Labels outside 0..k - 1 are left out. Several sets of labels for the same rows are sorted at once, each by itself: blockIdx.y is the set.
   The kernels are static, as several files of the C interface have them. */
#pragma once
#include <cstdint>

#include "luss/launch.h"

namespace luss {

constexpr int SORT_ROWS = 4096;

/* counts (sets, tables, k): how often each label occurs among a table's rows. Dynamic shared memory 4 k. */
static __global__ void __launch_bounds__(256) count_labels_kernel(const int32_t* __restrict__ label, int64_t n, int k, int32_t* __restrict__ counts) {
    LUSS_SHARED_BYTES(shared);
    int32_t* found = reinterpret_cast<int32_t*>(shared);
    for (int i = threadIdx.x; i < k; i += 256) found[i] = 0;
    __syncthreads();
    label += blockIdx.y * n;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * SORT_ROWS;
    for (int64_t row = first + threadIdx.x; row < first + SORT_ROWS && row < n; row += 256) {
        const int mine = label[row];
        if (mine >= 0 && mine < k) atomicAdd(found + mine, 1); // whole numbers: any order
    }
    __syncthreads();
    for (int i = threadIdx.x; i < k; i += 256) counts[(static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * k + i] = found[i];
}

/* counts (sets, tables, k) to the number of equal labels in the tables before; total (sets, k) to all of them. */
static __global__ void __launch_bounds__(128) add_tables_kernel(int32_t* __restrict__ counts, int64_t tables, int k, int64_t* __restrict__ total) {
    const int mine = blockIdx.x * 128 + threadIdx.x;
    if (mine >= k) return;
    counts += blockIdx.y * tables * k;
    int32_t sum = 0, here[16]; // sixteen asked for at once: this is all waiting for memory
    for (int64_t first = 0; first < tables; first += 16) {
#pragma unroll
        for (int i = 0; i < 16; ++i) here[i] = first + i < tables ? counts[(first + i) * k + mine] : 0;
#pragma unroll
        for (int i = 0; i < 16; ++i) {
            if (first + i < tables) counts[(first + i) * k + mine] = sum;
            sum += here[i];
        }
    }
    total[static_cast<int64_t>(blockIdx.y) * k + mine] = sum;
}

/* start (sets, k + 1): where each label begins among the sorted rows; piece (sets, k + 1): likewise in pieces of `rows`, the last of a label
   shorter. One block of 1024 threads a set, (1, sets). */
static __global__ void __launch_bounds__(1024, 1) start_labels_kernel(const int64_t* __restrict__ total, int k, int rows, int32_t* __restrict__ start,
                                                          int32_t* __restrict__ piece) {
    __shared__ int32_t sums[2][1024];
    const int thread = threadIdx.x, each = (k + 1023) / 1024;
    const int64_t set = blockIdx.y;
    total += set * k, start += set * (k + 1), piece += set * (k + 1);
    int32_t mine[2] = {0, 0};
    for (int i = thread * each; i < (thread + 1) * each && i < k; ++i) mine[0] += total[i], mine[1] += (total[i] + rows - 1) / rows;
    for (int s = 0; s < 2; ++s) sums[s][thread] = mine[s];
    __syncthreads();
    for (int step = 1; step < 1024; step *= 2) {
        const int32_t before[2] = {thread >= step ? sums[0][thread - step] : 0, thread >= step ? sums[1][thread - step] : 0};
        __syncthreads();
        for (int s = 0; s < 2; ++s) sums[s][thread] += before[s];
        __syncthreads();
    }
    int32_t at = sums[0][thread] - mine[0], at_piece = sums[1][thread] - mine[1];
    for (int i = thread * each; i < (thread + 1) * each && i < k; ++i) {
        start[i] = at, piece[i] = at_piece;
        at += total[i], at_piece += (total[i] + rows - 1) / rows;
    }
    if (thread == 1023) start[k] = sums[0][thread], piece[k] = sums[1][thread];
}

/* ids (sets, n), of which start[k] are written: row numbers by label. A warp a block; dynamic shared memory 4 k. */
static __global__ void __launch_bounds__(32) place_rows_kernel(const int32_t* __restrict__ label, int64_t n, int k,
                                                         const int32_t* __restrict__ before, const int32_t* __restrict__ start,
                                                         int32_t* __restrict__ ids) {
    LUSS_SHARED_BYTES(shared);
    int32_t* next = reinterpret_cast<int32_t*>(shared);
    const int lane = threadIdx.x;
    label += blockIdx.y * n, ids += blockIdx.y * n, start += static_cast<int64_t>(blockIdx.y) * (k + 1);
    before += (static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * k;
    for (int i = lane; i < k; i += 32) next[i] = start[i] + before[i];
    __syncwarp();
    const int64_t first = static_cast<int64_t>(blockIdx.x) * SORT_ROWS;
    int coming = first + lane < n ? label[first + lane] : -1;
    for (int64_t row = first + lane; row - lane < first + SORT_ROWS && row - lane < n; row += 32) {
        const int mine = coming;
        coming = row + 32 < n && row + 32 < first + SORT_ROWS ? label[row + 32] : -1; // asked for a step before it is needed
        const unsigned equals = __match_any_sync(0xffffffffu, mine);
        const int rank = __popc(equals & ((1u << lane) - 1));
        const bool kept = mine >= 0 && mine < k;
        const int at = kept ? next[mine] : 0;
        __syncwarp();
        if (kept) ids[at + rank] = static_cast<int32_t>(row);
        if (kept && rank == 0) next[mine] = at + __popc(equals);
        __syncwarp();
    }
}

} // namespace luss
