// kernels/luss/fixed_sums.cuh on the CPU, between guards; called by tests/engine/ops/test_fixed_sums_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/fixed_sums.cuh"

using cuda_on_cpu::Guarded;

template <class X>
static void run(const X* x, int64_t n, int d, int k, int r, int bits, int rows, const int32_t* label, int offset, int64_t* sums, int64_t* counts) {
    Guarded<X> features(n * d + offset);
    std::copy(x, x + n * d, features.data() + offset);
    Guarded<int32_t> labels(label, n * r);
    Guarded<int64_t> sum(static_cast<size_t>(r) * k * d), count(static_cast<size_t>(r) * k);
    const size_t bytes = rows ? luss::sort_scratch(n, k, r, rows).bytes : luss::fixed_sums_scratch(n, d, k, r);
    cuda_on_cpu::GuardedBytes scratch(bytes, 256);
    const X* at = features.data() + offset;
    const cudaError_t error =
        rows ? luss::fixed_sums_in_pieces(at, labels.data(), n, d, k, r, bits, rows, sum.data(), count.data(), scratch.data(), bytes, nullptr)
             : luss::fixed_sums(at, sizeof(X) == 2, labels.data(), n, d, k, r, bits, sum.data(), count.data(), scratch.data(), bytes, nullptr);
    if (error != cudaSuccess) throw cuda_on_cpu::Fault("fixed_sums refused its arguments");
    scratch.check("scratch");
    sum.copy_to(sums, "sums");
    count.copy_to(counts, "counts");
}

// rows: of a piece; 0 takes the launcher's. x begins `offset` numbers past an aligned address.
extern "C" int luss_emulate_fixed_sums(const void* x, int x_half, int64_t n, int d, int k, int r, int bits, int rows, const int32_t* label,
                                       int offset, int64_t* sums, int64_t* counts, int order, char* message, int room) {
    return cuda_on_cpu::guarded(
        [=] {
            if (x_half) run(static_cast<const __half*>(x), n, d, k, r, bits, rows, label, offset, sums, counts);
            else run(static_cast<const float*>(x), n, d, k, r, bits, rows, label, offset, sums, counts);
        },
        order, message, room);
}

// What the kernel makes of each number.
extern "C" void luss_emulate_fixed_number(const float* value, int64_t n, int64_t* result) {
    for (int64_t i = 0; i < n; ++i) result[i] = static_cast<int64_t>(luss::fixed_number(value[i]));
}
