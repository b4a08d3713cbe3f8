/* Semantic voting: each mask of an image in turn gets the most frequent label under it.            SAMPASS, spec/sampass.md 1.4.1, K7
   from, map: the label maps of a batch, T = uint16_t or int32_t, one after another, each (pixels,) row by row; map may be from, unless
   rules.on_original.  images (count,) luss_vote_image.  votes (all masks,) luss_vote.  Of mask m of an image, with masks numbered through:
     runs (r, 2) int32, offsets (all masks + 1,) int64: its set pixels [start, stop) are the runs offsets[m] ... offsets[m + 1] - 1; or
     words (w,) uint32: see luss_vote_image; bit i of word j is pixel 32 j + i; bits past the last pixel are 0.
   Equal counts: the smallest id. Ids outside [0, bins) have no vote. Nothing else is checked here. Gradient: none. Deterministic: all sums
   are whole numbers, and the winner is the largest of keys that hold count and id, so the order of threads cannot show.

   Masks depend on the ones before, images do not: a block takes an image, and lets all its masks vote; three barriers a mask.
   Least traffic, 100 masks of 4.3 % of 375 x 500, uint16: map read and written once, 0.75 MB, and runs, 0.09 MB (words: 2.3 MB).
   Moved: labels under masks are read and written again for each, 0.81 M x 4 B = 3.2 MB, mostly between L1/L2 and the block; runs twice.
   27,423 such images: 25 GB to and from memory, 110 GB through L2: 0.05 s of an RTX 2080 Ti's 530 GB/s for the former, 0.2 s for all of
   it; 6 ms and 25 ms of an H200's 4.3 TB/s. Latency: a warp has 4 x 32 labels in flight; 32 k such pieces in 16 warps, 4 at a time, at some
   400 cycles, and 100 x 1,500 cycles for barriers and the search of 920 bins: 0.35 M cycles, 0.23 ms at 1.5 GHz. With 2 images a
   multiprocessor (sm_75: 1,024 threads) 27,423 / 136 x 0.23 ms = 0.05 s; H200, 4 images: 0.01 s. Words: 2.9 rounds of 128 words a warp and
   pass, + 0.23 M cycles an image. So copying maps and runs to the card (12 GB: 0.5 to 1 s) takes longer than voting. Reckoned, not timed:
   no GPU was at hand.
   Versions: v1, this one. Neighbours mostly share a label, so a warp's lanes are first asked for the leader's label (shuffle and ballot, one
   atomic for all that share it), twice, and the rest counts one by one in shared memory. __match_any_sync would do the same in one
   instruction whose time grows with the number of different labels; several sub-histograms would help only where all lanes differ.
   sm_70 and later. Shared memory: 4 bins bytes up to 12,000 bins, else tables in global scratch; 144 bytes besides. Registers (nvcc 13.0), runs:
   41 on sm_75, 34 on 80, 40 on 86, 32 on 90; words: 51 (53 with global tables), 38, 40, 40; no spills. So 2, 3, 3 and 4 blocks a multiprocessor
   with runs; 2, 3, 3 and 3 with words. */
#pragma once
#include <cstddef>
#include <cstdint>

#include "luss/launch.h"
#include "luss/vote_table.h"

namespace luss {

constexpr int VOTE_THREADS = 512, VOTE_WARPS = VOTE_THREADS / 32;
constexpr int VOTE_PIECES = 4;          // of 32 pixels: looked at together by a warp
constexpr int VOTE_SHARED_BINS = 12000; // 48,000 bytes
constexpr int VOTE_GLOBAL_BLOCKS = 264; // with more bins: as many tables
constexpr unsigned VOTE_LANES = 0xffffffffu;

/* 32 neighbouring pixels each: from `first` on those whose bit is set. The same in all lanes. */
struct vote_pieces {
    int first[VOTE_PIECES];
    unsigned bits[VOTE_PIECES];
};

/* visit(pieces) for all set pixels of a mask, shared out among the block's warps. */
struct vote_runs {
    const int32_t* runs;
    const int64_t* offsets;

    template <class F> __device__ __forceinline__ void each(const luss_vote_image& image, int mask, int warp, int, F visit) const {
        const int64_t end = offsets[image.first_mask + mask + 1];
        for (int64_t r = offsets[image.first_mask + mask] + warp; r < end; r += VOTE_WARPS) {
            const int stop = runs[2 * r + 1];
            for (int at = runs[2 * r]; at < stop; at += 32 * VOTE_PIECES) {
                vote_pieces pieces;
#pragma unroll
                for (int i = 0; i < VOTE_PIECES; ++i) {
                    const int left = stop - at - 32 * i;
                    pieces.first[i] = at + 32 * i;
                    pieces.bits[i] = left <= 0 ? 0 : left < 32 ? (1u << left) - 1 : VOTE_LANES;
                }
                visit(pieces);
            }
        }
    }
};

struct vote_words {
    const uint32_t* words;

    template <class F> __device__ __forceinline__ void each(const luss_vote_image& image, int mask, int warp, int lane, F visit) const {
        const int length = (image.pixels + 31) / 32;
        const uint32_t* from = words + image.first_word + static_cast<int64_t>(mask) * length;
        for (int at = warp * 32 * VOTE_PIECES; at < length; at += VOTE_THREADS * VOTE_PIECES) {
            uint32_t word[VOTE_PIECES];
#pragma unroll
            for (int i = 0; i < VOTE_PIECES; ++i) word[i] = at + 32 * i + lane < length ? from[at + 32 * i + lane] : 0;
#pragma unroll
            for (int i = 0; i < VOTE_PIECES; ++i) {
                unsigned waiting = __ballot_sync(VOTE_LANES, word[i] != 0);
                while (waiting != 0) {
                    vote_pieces pieces;
#pragma unroll
                    for (int k = 0; k < VOTE_PIECES; ++k) {
                        const int source = waiting != 0 ? __ffs(static_cast<int>(waiting)) - 1 : 0;
                        const uint32_t bits = __shfl_sync(VOTE_LANES, word[i], source);
                        pieces.first[k] = 32 * (at + 32 * i + source);
                        pieces.bits[k] = waiting != 0 ? bits : 0;
                        waiting &= waiting - 1; // 0 stays 0
                    }
                    visit(pieces);
                }
            }
        }
    }
};

/* Adds the labels of the lanes in `left` to the table. */
__device__ __forceinline__ void vote_count(unsigned left, unsigned label, int lane, unsigned bins, unsigned* table) {
    for (int round = 0; round < 2 && left != 0; ++round) {
        const int leader = __ffs(static_cast<int>(left)) - 1;
        const unsigned shown = __shfl_sync(VOTE_LANES, label, leader);
        const unsigned same = __ballot_sync(VOTE_LANES, (left >> lane & 1) != 0 && label == shown);
        if (lane == leader && label < bins) atomicAdd(table + label, static_cast<unsigned>(__popc(same)));
        left &= ~same;
    }
    if ((left >> lane & 1) != 0 && label < bins) atomicAdd(table + label, 1u);
}

/* GLOBAL: the tables, one a block, lie in scratch (gridDim.x, bins), else in dynamic shared memory. */
template <class T, class MASKS, bool GLOBAL>
__global__ void __launch_bounds__(VOTE_THREADS) vote_masks_kernel(const T* from, T* map, const luss_vote_image* __restrict__ images, int count,
                                                                MASKS masks, luss_vote_rules rules, int bins, unsigned* scratch,
                                                                luss_vote* votes) {
    LUSS_SHARED_BYTES(dynamic);
    __shared__ unsigned long long best[VOTE_WARPS];
    __shared__ int areas[2]; // of this mask and of the next
    unsigned* table = GLOBAL ? scratch + static_cast<int64_t>(blockIdx.x) * bins : reinterpret_cast<unsigned*>(dynamic);
    const int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    for (int i = thread; i < bins; i += VOTE_THREADS) table[i] = 0;
    if (thread < 2) areas[thread] = 0;
    int turn = 0;
    for (int64_t number = blockIdx.x; number < count; number += gridDim.x) {
        const luss_vote_image image = images[number];
        const T* const before = from + image.first_pixel;
        T* const labels = map + image.first_pixel;
        if (before != labels)
            for (int i = thread; i < image.pixels; i += VOTE_THREADS) labels[i] = before[i];
        const T* const counted = rules.on_original ? before : labels; // written by other threads: not for the read-only cache
        __syncthreads();
        for (int m = 0; m < image.masks; ++m, turn ^= 1) {
            int area = 0; // this warp's part
            masks.each(image, m, warp, lane, [&](const vote_pieces& pieces) {
                unsigned label[VOTE_PIECES];
#pragma unroll
                for (int i = 0; i < VOTE_PIECES; ++i)
                    label[i] = pieces.bits[i] >> lane & 1 ? static_cast<unsigned>(counted[pieces.first[i] + lane]) : 0;
#pragma unroll
                for (int i = 0; i < VOTE_PIECES; ++i) {
                    vote_count(pieces.bits[i], label[i], lane, bins, table);
                    area += __popc(pieces.bits[i]);
                }
            });
            if (lane == 0 && area != 0) atomicAdd(areas + turn, area);
            __syncthreads(); // the table is complete
            unsigned long long key = 0; // count, and the id's complement: of equal counts the smallest id has the largest key
            for (int i = thread; i < bins; i += VOTE_THREADS) {
                const unsigned found = rules.ignore_background && i == 0 ? 0 : table[i];
                table[i] = 0;
                const unsigned long long mine = static_cast<unsigned long long>(found) << 32 | ~static_cast<unsigned>(i);
                if (mine > key) key = mine;
            }
#pragma unroll
            for (int step = 16; step > 0; step /= 2) {
                const unsigned long long other = __shfl_xor_sync(VOTE_LANES, key, step);
                if (other > key) key = other;
            }
            if (lane == 0) best[warp] = key;
            if (thread == 0) areas[turn ^ 1] = 0;
            __syncthreads(); // the warps' best are there, the table is empty
#pragma unroll
            for (int i = 0; i < VOTE_WARPS; ++i)
                if (best[i] > key) key = best[i];
            const int32_t winner = static_cast<int32_t>(~static_cast<unsigned>(key)), found = static_cast<int32_t>(key >> 32);
            const luss_vote vote = luss_decide(winner, found, areas[turn], rules);
            if (thread == 0) votes[image.first_mask + m] = vote;
            if (vote.written) {
                const T label = static_cast<T>(vote.label);
                masks.each(image, m, warp, lane, [&](const vote_pieces& pieces) {
#pragma unroll
                    for (int i = 0; i < VOTE_PIECES; ++i)
                        if (pieces.bits[i] >> lane & 1) labels[pieces.first[i] + lane] = label;
                });
            }
            __syncthreads(); // the map is written, best has been read
        }
    }
}

/* Bytes of scratch that the launchers need: 0 up to VOTE_SHARED_BINS. */
inline size_t vote_masks_scratch(int count, int bins) {
    const size_t tables = count < VOTE_GLOBAL_BLOCKS ? count : VOTE_GLOBAL_BLOCKS;
    return bins <= VOTE_SHARED_BINS ? 0 : tables * bins * sizeof(unsigned);
}

template <class T, class MASKS>
inline cudaError_t vote_masks_launch(const T* from, T* map, const luss_vote_image* images, int count, MASKS masks, luss_vote_rules rules, int bins,
                                     void* scratch, luss_vote* votes, cudaStream_t stream) {
    if (count == 0) return cudaSuccess;
    if (bins <= VOTE_SHARED_BINS) {
        const size_t shared = bins * sizeof(unsigned);
        LUSS_LAUNCH((vote_masks_kernel<T, MASKS, false>), dim3(count), dim3(VOTE_THREADS), shared, stream, from, map, images, count, masks, rules,
                    bins, nullptr, votes);
    } else {
        const dim3 grid(count < VOTE_GLOBAL_BLOCKS ? count : VOTE_GLOBAL_BLOCKS);
        LUSS_LAUNCH((vote_masks_kernel<T, MASKS, true>), grid, dim3(VOTE_THREADS), 0, stream, from, map, images, count, masks, rules, bins,
                    static_cast<unsigned*>(scratch), votes);
    }
    return cudaGetLastError();
}

/* On `stream`; nothing waits. count may be 0. Balanced where no run is much longer than 512; right for any length. Returns the launch's error. */
template <class T>
inline cudaError_t vote_masks_runs(const T* from, T* map, const luss_vote_image* images, int count, const int32_t* runs, const int64_t* offsets,
                                   luss_vote_rules rules, int bins, void* scratch, luss_vote* votes, cudaStream_t stream) {
    return vote_masks_launch(from, map, images, count, vote_runs{runs, offsets}, rules, bins, scratch, votes, stream);
}

template <class T>
inline cudaError_t vote_masks_packed(const T* from, T* map, const luss_vote_image* images, int count, const uint32_t* words, luss_vote_rules rules,
                                     int bins, void* scratch, luss_vote* votes, cudaStream_t stream) {
    return vote_masks_launch(from, map, images, count, vote_words{words}, rules, bins, scratch, votes, stream);
}

} // namespace luss
