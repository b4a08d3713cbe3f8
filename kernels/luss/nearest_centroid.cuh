/* Nearest centroid of every row, for several sets of centroids at once.                                    hot path K2, k-means assignment
   x (n, d) fp16 or fp32, c (r, k, d) fp32, all row-major on the device;  label (r, n) int32;  score (r, n) fp32, may be null.
   label = argmin_j |x - c_j|^2 = argmax_j <x, c_j> - |c_j|^2 / 2, or argmax_j <x, c_j> (`cosine`); score: that |x - c|^2, at least 0, or that
   <x, c>. Equal scores: the smallest id. NaN is never better; a row without any other score gets label 0 and score NaN. n may be 0.
   d 1..2048, k 1..4096, r 1..65535 (each checked). Nothing waits for the stream. Gradient: none (piecewise constant).

   mode 0: fp32 throughout (nearest_centroid_fp32.cuh). mode 1: tensor cores, and the same bits in label and score: rows whose best two
   scores lie within the rounding bound (nearest_centroid_prepare.cuh has it and its proof) are multiplied again by the tensor cores, which
   names the few centroids within the bound (mostly two), and these are compared in fp32, in mode 0's order of operations; rows with more
   than 8 of them, or with infinite or NaN numbers, go through mode 0's kernel. Scores of mode 1 are made by one pass over x and the chosen
   centroids in mode 0's order: leave score null where only labels are wanted. x in fp32, or in fp16 with d no multiple of 8, is copied to
   padded fp16 first: 6 n d bytes, 243 / k of the time of one set; sets share it.

   Least traffic: n d words of x once, r k d of c, (r + r) n of results. Least work 2 r n k d. Moved: x once for every 128 centroids, c once for
   every 128 rows, mostly from the second-level cache: 64 operations a byte each, 336 GB/s each at 43 TFLOP/s.
   The n x k scores are never written. Sums and counts are not accumulated here: k d fp64 sums fit in no shared memory, and order-free global
   atomics would write 8 n d bytes; centroid_sums.cuh reads x once more instead, n d words.
   Versions: v1, this one; not timed: no GPU was at hand. Tried on paper: rows resident in shared memory (d = 128: one block an SM on sm_75, no
   other to hide the epilogue); 128 x 256 tiles (halves the traffic of x, needs 240 registers of 256 threads, one block an SM).
   sm_75 and later. Shared memory: 32 kB a block on sm_75, 48 kB from sm_80 on, all dynamic, two blocks an SM; the fp32 kernel 17.5 kB static. */
#pragma once
#include <cstdint>

#include "luss/nearest_centroid_fp32.cuh"
#include "luss/nearest_centroid_tensor.cuh"

namespace luss {

constexpr int NEAREST_MAX_D = 2048, NEAREST_MAX_K = 4096, NEAREST_MAX_R = 65535, DECIDE_THREADS = 128;

/* Candidates of listed rows, compared in fp32; 8 threads a row. Blocks (any, r). */
template <class X>
__global__ void __launch_bounds__(DECIDE_THREADS) decide_candidates_kernel(const tensor_problem p, const X* __restrict__ x,
                                                                         const float* __restrict__ c) {
    const int restart = blockIdx.y, lane = threadIdx.x % CANDIDATES, group = threadIdx.x / CANDIDATES, groups = DECIDE_THREADS / CANDIDATES;
    const int64_t n = p.counts[2 * restart] < p.room ? p.counts[2 * restart] : p.room;
    c += static_cast<int64_t>(restart) * p.k * p.d;
    const float* bias = p.bias + static_cast<int64_t>(restart) * p.kp;
    for (int64_t first = static_cast<int64_t>(blockIdx.x) * groups; first < n; first += static_cast<int64_t>(gridDim.x) * groups) {
        const int64_t slot = restart * p.room + first + group;
        const bool there = first + group < n;
        const int count = there ? p.candidate_counts[slot] : 0;
        const int64_t row = there ? p.listed[slot] : 0;
        float best = -INFINITY;
        int id = 0x7fffffff;
        if (lane < count && count <= CANDIDATES) {
            const int candidate = p.candidates[slot * CANDIDATES + lane];
            const float score = chain_score(x + row * p.d, c + static_cast<int64_t>(candidate) * p.d, p.d, bias[candidate]);
            if (score > best) best = score, id = candidate;
        }
#pragma unroll
        for (int step = CANDIDATES / 2; step > 0; step /= 2) {
            const float other = __shfl_xor_sync(0xffffffffu, best, step);
            const int other_id = __shfl_xor_sync(0xffffffffu, id, step);
            if (other > best || (other == best && other_id < id)) best = other, id = other_id;
        }
        if (lane != 0 || !there) continue;
        if (id != 0x7fffffff) p.label[restart * p.stride + row] = id;
        else list_undecided(p, restart, row);
    }
}

/* Where the parts of the scratch memory lie; `bytes` in all. Rows are taken `chunk` at a time in mode 1. */
struct nearest_scratch {
    int kp, dp;
    int64_t chunk, room;
    size_t bias, norms, centroids, rows, row_errors, counts, listed, threshold, undecided, candidate_counts, candidates, bytes;

    /* most: rows of a chunk at most; 0 takes what memory suggests */
    nearest_scratch(int64_t n, int d, int k, int r, int mode, int64_t most) {
        kp = (k + 127) / 128 * 128, dp = (d + 31) / 32 * 32;
        const int64_t by_copy = (int64_t(1) << 27) / dp, by_lists = (int64_t(1) << 22) / r;
        chunk = (by_copy < by_lists ? by_copy : by_lists) / 128 * 128;
        if (chunk < 4096) chunk = 4096;
        if (most > 0) chunk = most;
        if (chunk > n) chunk = n;
        room = chunk / 4 > 128 ? chunk / 4 : 128;
        bytes = 0;
        bias = take(sizeof(float) * r * kp);
        norms = centroids = rows = row_errors = counts = listed = threshold = undecided = candidate_counts = candidates = bytes;
        if (mode == 0) return;
        norms = take(sizeof(uint32_t) * 2 * r);
        centroids = take(sizeof(__half) * r * kp * dp);
        rows = take(sizeof(__half) * chunk * dp);
        row_errors = take(sizeof(float) * chunk);
        counts = take(sizeof(int32_t) * 2 * r);
        listed = take(sizeof(int32_t) * r * room);
        threshold = take(sizeof(float) * r * room);
        undecided = take(sizeof(int32_t) * r * chunk);
        candidate_counts = take(sizeof(int32_t) * r * room);
        candidates = take(sizeof(int32_t) * r * room * CANDIDATES);
    }

  private:
    size_t take(size_t size) {
        const size_t at = bytes;
        bytes += (size + 255) / 256 * 256;
        return at;
    }
};

/* Bytes of scratch memory that nearest_centroid needs, 256-byte aligned: mode 0 4 r k; mode 1 besides 2 r k d and of rows at a time up
   to 2^28 for fp16 copies, 4 a row, and 15 a row and set for lists, of at most 2^22 rows and sets (4096 rows where r > 1024). */
inline size_t nearest_centroid_scratch(int64_t n, int d, int k, int r, int mode) { return nearest_scratch(n, d, k, r, mode, 0).bytes; }

/* The card at hand: its processors, and 10 * major + minor. */
inline cudaError_t card_at_hand(int& processors, int& sm) {
    int device = 0, major = 0, minor = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    sm = 10 * major + minor;
    return error;
}

inline unsigned blocks_for(int64_t count, int64_t per_block) { return static_cast<unsigned>((count + per_block - 1) / per_block); }

/* Mode 1 on one chunk: labels of x (p.n, d). The later passes see few rows, how many only the card knows: their blocks go round. */
template <class Tensor, class Plain, class X>
inline cudaError_t nearest_by_tensor_cores(const tensor_problem& p, const X* x, const float* c, int r, int processors, int sm,
                                           cudaStream_t stream) {
    cudaError_t error = cudaMemsetAsync(p.counts, 0, sizeof(int32_t) * 2 * r, stream);
    if (error == cudaSuccess) error = cudaMemsetAsync(p.candidate_counts, 0, sizeof(int32_t) * r * p.room, stream);
    if (error != cudaSuccess) return error;
    const int shared_bytes = Tensor::stages(sm) * Tensor::STAGE_BYTES; // 48 kB at most: what needs no asking
    // Two blocks take all that sm_75 has: where L1 and shared memory divide the same memory, most of it to the latter.
    const cudaFuncAttribute share = cudaFuncAttributePreferredSharedMemoryCarveout;
    error = cudaFuncSetAttribute(nearest_tensor_kernel<Tensor, best_two>, share, 100);
    if (error == cudaSuccess) error = cudaFuncSetAttribute(nearest_tensor_kernel<Tensor, collect>, share, 100);
    if (error != cudaSuccess) return error;
    const dim3 all(blocks_for(p.n, Tensor::ROWS), r);
    const unsigned most = 4 * processors;
    const dim3 few(all.x < most ? all.x : most, r);
    LUSS_LAUNCH((nearest_tensor_kernel<Tensor, best_two>), all, Tensor::THREADS, shared_bytes, stream, p);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    LUSS_LAUNCH((nearest_tensor_kernel<Tensor, collect>), few, Tensor::THREADS, shared_bytes, stream, p);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    LUSS_LAUNCH((decide_candidates_kernel<X>), few, DECIDE_THREADS, 0, stream, p, x, c);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    float* const no_score = nullptr;
    LUSS_LAUNCH((nearest_fp32_kernel<X, Plain>), few, Plain::THREADS, 0, stream, x, c, p.bias, p.n, p.d, p.k, p.kp, p.cosine, p.undecided,
                p.undecided_room, p.counts, p.stride, p.label, no_score);
    return cudaGetLastError();
}

/* Both modes with given tiles. */
template <class Tensor, class Plain, class X>
inline cudaError_t nearest_centroid_tiled(const X* x, const float* c, int64_t n, int d, int k, int r, int cosine, int mode, int32_t* label,
                                          float* score, void* scratch, size_t scratch_bytes, cudaStream_t stream, int64_t most = 0) {
    const nearest_scratch at(n, d, k, r, mode, most);
    if (n == 0) return cudaSuccess;
    if (scratch_bytes < at.bytes || reinterpret_cast<uintptr_t>(scratch) % 256 != 0) return cudaErrorInvalidValue;
    unsigned char* const base = static_cast<unsigned char*>(scratch);
    float* const bias = reinterpret_cast<float*>(base + at.bias);
    uint32_t* const norms = reinterpret_cast<uint32_t*>(base + at.norms);
    __half* const halves = mode == 1 ? reinterpret_cast<__half*>(base + at.centroids) : nullptr;
    int processors = 0, sm = 0;
    cudaError_t error = card_at_hand(processors, sm);
    if (error == cudaSuccess && mode == 1) error = cudaMemsetAsync(norms, 0, sizeof(uint32_t) * 2 * r, stream);
    if (error != cudaSuccess) return error;
    const int64_t padded = static_cast<int64_t>(r) * at.kp;
    LUSS_LAUNCH(prepare_centroids_kernel, blocks_for(padded, PREPARE_WARPS), 32 * PREPARE_WARPS, 0, stream, c, k, d, at.kp, at.dp, cosine, padded,
                bias, halves, norms);
    if ((error = cudaGetLastError()) != cudaSuccess) return error;
    if (mode == 0) {
        const dim3 grid(blocks_for(n, Plain::ROWS), r);
        const int32_t* const no_rows = nullptr;
        LUSS_LAUNCH((nearest_fp32_kernel<X, Plain>), grid, Plain::THREADS, 0, stream, x, c, bias, n, d, k, at.kp, cosine, no_rows, int64_t(0),
                    no_rows, n, label, score);
        return cudaGetLastError();
    }
    const bool exact = sizeof(X) == 2 && d % 8 == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0; // no copy needed
    for (int64_t first = 0; first < n; first += at.chunk) {
        const int64_t count = n - first < at.chunk ? n - first : at.chunk;
        const X* rows = x + first * d;
        tensor_problem p = {};
        p.n = count, p.d = d, p.k = k, p.kp = at.kp, p.dp = at.dp, p.cosine = cosine;
        p.c = halves, p.bias = bias, p.norms = norms;
        p.stride = n, p.label = label + first;
        p.counts = reinterpret_cast<int32_t*>(base + at.counts);
        p.room = at.room, p.listed = reinterpret_cast<int32_t*>(base + at.listed), p.threshold = reinterpret_cast<float*>(base + at.threshold);
        p.undecided_room = at.chunk, p.undecided = reinterpret_cast<int32_t*>(base + at.undecided);
        p.candidate_counts = reinterpret_cast<int32_t*>(base + at.candidate_counts), p.candidates = reinterpret_cast<int32_t*>(base + at.candidates);
        if (exact) {
            p.x = reinterpret_cast<const __half*>(rows), p.pitch = d, p.width = d, p.x_error = nullptr;
        } else {
            __half* const copy = reinterpret_cast<__half*>(base + at.rows);
            float* const row_errors = reinterpret_cast<float*>(base + at.row_errors);
            LUSS_LAUNCH((prepare_rows_kernel<X>), blocks_for(count, PREPARE_WARPS), 32 * PREPARE_WARPS, 0, stream, rows, count, d, at.dp, copy,
                        row_errors);
            if ((error = cudaGetLastError()) != cudaSuccess) return error;
            p.x = copy, p.pitch = at.dp, p.width = at.dp, p.x_error = row_errors;
        }
        error = nearest_by_tensor_cores<Tensor, Plain>(p, rows, c, r, processors, sm, stream);
        if (error != cudaSuccess) return error;
    }
    if (!score) return cudaSuccess;
    const dim3 grid(blocks_for(n, SCORE_ROWS), r);
    LUSS_LAUNCH((score_rows_kernel<X>), grid, SCORE_ROWS, 0, stream, x, c, bias, n, d, k, at.kp, cosine, n, label, score);
    return cudaGetLastError();
}

/* On `stream`. x_half: 0 fp32, 1 fp16. scratch: nearest_centroid_scratch bytes, 256-byte aligned, free again when the launches are done.
   Returns the first error; cudaErrorInvalidValue for sizes out of range, an unknown mode and too little scratch. */
inline cudaError_t nearest_centroid(const void* x, int x_half, const float* c, int64_t n, int d, int k, int r, int cosine, int mode, int32_t* label,
                                    float* score, void* scratch, size_t scratch_bytes, cudaStream_t stream) {
    if (n < 0 || d < 1 || d > NEAREST_MAX_D || k < 1 || k > NEAREST_MAX_K || r < 1 || r > NEAREST_MAX_R || mode < 0 || mode > 1)
        return cudaErrorInvalidValue;
    const size_t room = scratch_bytes;
    const auto run = [&](auto rows) {
        if (k <= 64)
            return nearest_centroid_tiled<tensor_tile<4, 2>, fp32_tile<128, 64>>(rows, c, n, d, k, r, cosine, mode, label, score, scratch, room,
                                                                              stream);
        return nearest_centroid_tiled<tensor_tile<4, 4>, fp32_tile<128, 128>>(rows, c, n, d, k, r, cosine, mode, label, score, scratch, room,
                                                                           stream);
    };
    return x_half ? run(static_cast<const __half*>(x)) : run(static_cast<const float*>(x));
}

} // namespace luss
