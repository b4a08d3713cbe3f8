// kernels/luss/nearest_centroid.cuh on the CPU, between guards; called by tests/engine/ops/test_nearest_centroid_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/nearest_centroid.cuh"

using cuda_on_cpu::Guarded;
using luss::fp32_tile;
using luss::tensor_tile;

template <class X>
static cudaError_t tiled(int tile, int chunk, const X* x, const float* c, int64_t n, int d, int k, int r, int cosine, int mode, int32_t* label,
                         float* score, void* scratch, size_t bytes) {
    if (tile == 1)
        return luss::nearest_centroid_tiled<tensor_tile<1, 1>, fp32_tile<64, 64>>(x, c, n, d, k, r, cosine, mode, label, score, scratch, bytes,
                                                                                  nullptr, chunk);
    if (tile == 2)
        return luss::nearest_centroid_tiled<tensor_tile<2, 2>, fp32_tile<64, 128>>(x, c, n, d, k, r, cosine, mode, label, score, scratch, bytes,
                                                                                   nullptr, chunk);
    return luss::nearest_centroid(x, sizeof(X) == 2, c, n, d, k, r, cosine, mode, label, score, scratch, bytes, nullptr);
}

// Copies of fp16 start at `offset` halves past 16 bytes, where loads of 16 bytes are not allowed.
template <class X>
static void run(int tile, int chunk, const X* x, const float* c, int64_t n, int d, int k, int r, int cosine, int mode, int with_score, int offset,
                int32_t* label, float* score) {
    Guarded<X> rows(n * d + offset);
    std::copy(x, x + n * d, rows.data() + offset);
    Guarded<float> centroids(c, static_cast<size_t>(r) * k * d), scores(static_cast<size_t>(r) * n);
    Guarded<int32_t> labels(static_cast<size_t>(r) * n);
    const size_t bytes = chunk ? luss::nearest_scratch(n, d, k, r, mode, chunk).bytes : luss::nearest_centroid_scratch(n, d, k, r, mode);
    cuda_on_cpu::GuardedBytes scratch(bytes, 256);
    const cudaError_t error = tiled(tile, chunk, rows.data() + offset, centroids.data(), n, d, k, r, cosine, mode, labels.data(),
                                    with_score ? scores.data() : nullptr, scratch.data(), bytes);
    if (error != cudaSuccess) throw cuda_on_cpu::Fault("nearest_centroid refused its arguments");
    scratch.check("scratch");
    labels.copy_to(label, "label");
    scores.copy_to(score, "score");
}

// tile: 0 what the launcher chooses, 1 and 2 smaller ones; chunk: rows at a time with those, 0 what the launcher chooses.
// Returns 0, or 1 with the reason in `message`.
extern "C" int luss_emulate_nearest_centroid(int tile, int chunk, const void* x, int x_half, const float* c, int64_t n, int d, int k, int r,
                                             int cosine, int mode, int with_score, int offset, int32_t* label, float* score, int order,
                                             char* message, int room) {
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        if (x_half) run(tile, chunk, static_cast<const __half*>(x), c, n, d, k, r, cosine, mode, with_score, offset, label, score);
        else run(tile, chunk, static_cast<const float*>(x), c, n, d, k, r, cosine, mode, with_score, offset, label, score);
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
