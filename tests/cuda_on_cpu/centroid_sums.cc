// kernels/luss/centroid_sums.cuh on the CPU, between guards; called by tests/engine/ops/test_centroid_sums_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/centroid_sums.cuh"

using cuda_on_cpu::Guarded;

template <class X> static void run(const X* x, int64_t n, int d, int k, int rows, const int32_t* label, int offset, double* sums, int64_t* counts) {
    Guarded<X> features(n * d + offset);
    std::copy(x, x + n * d, features.data() + offset);
    Guarded<int32_t> labels(label, n);
    Guarded<double> sum(static_cast<size_t>(k) * d);
    Guarded<int64_t> count(k);
    const size_t bytes = rows ? luss::sums_scratch(n, d, k, rows).bytes : luss::centroid_sums_scratch(n, d, k);
    cuda_on_cpu::GuardedBytes scratch(bytes, 256);
    const X* at = features.data() + offset;
    double* to = sum.data();
    int64_t* found = count.data();
    const cudaError_t error = rows ? luss::centroid_sums_in_pieces(at, labels.data(), n, d, k, rows, to, found, scratch.data(), bytes, nullptr)
                                   : luss::centroid_sums(at, sizeof(X) == 2, labels.data(), n, d, k, to, found, scratch.data(), bytes, nullptr);
    if (error != cudaSuccess) throw cuda_on_cpu::Fault("centroid_sums refused its arguments");
    scratch.check("scratch");
    sum.copy_to(sums, "sums");
    count.copy_to(counts, "counts");
}

// rows: of a piece; 0 takes the launcher's. x begins `offset` numbers past an aligned address.
extern "C" int luss_emulate_centroid_sums(const void* x, int x_half, int64_t n, int d, int k, int rows, const int32_t* label, int offset,
                                          double* sums, int64_t* counts, int order, char* message, int room) {
    return cuda_on_cpu::guarded(
        [=] {
            if (x_half) run(static_cast<const __half*>(x), n, d, k, rows, label, offset, sums, counts);
            else run(static_cast<const float*>(x), n, d, k, rows, label, offset, sums, counts);
        },
        order, message, room);
}

extern "C" int luss_emulate_score_sums(const float* score, int64_t n, int r, double* totals, int order, char* message, int room) {
    return cuda_on_cpu::guarded(
        [=] {
            Guarded<float> scores(score, n * r);
            Guarded<double> total(r);
            const size_t bytes = luss::score_sums_scratch(r);
            cuda_on_cpu::GuardedBytes scratch(bytes, 8);
            if (luss::score_sums(scores.data(), n, r, total.data(), scratch.data(), bytes, nullptr) != cudaSuccess)
                throw cuda_on_cpu::Fault("score_sums refused its arguments");
            scratch.check("scratch");
            total.copy_to(totals, "totals");
        },
        order, message, room);
}
