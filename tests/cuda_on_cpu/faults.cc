// Kernels with planted faults, and some without, for tests/cuda_on_cpu/test_cuda_on_cpu.py.
#include "cuda_on_cpu.h"

using cuda_on_cpu::Guarded;

// Each thread shows its neighbour's number; without the barrier it reads what is not there yet.
__global__ void neighbour(int* out, int barrier) {
    __shared__ int numbers[64];
    numbers[threadIdx.x] = static_cast<int>(threadIdx.x);
    if (barrier) __syncthreads();
    out[threadIdx.x] = numbers[(threadIdx.x + 1) % 64];
}

__global__ void divergent(int* out) {
    if (threadIdx.x < 7) __syncthreads();
    else __shfl_xor_sync(0xffffffffu, 1, 1);
    out[threadIdx.x] = 1;
}

__global__ void shifted(int* out, int by) { out[static_cast<int>(threadIdx.x) + by] = 1; }

__global__ void over_shared(int* out, int at) {
    LUSS_SHARED_BYTES(bytes);
    bytes[at] = 1;
    out[threadIdx.x] = 1;
}

__global__ void unset(int* out) {
    __shared__ int words[64];
    LUSS_SHARED_BYTES(bytes);
    out[threadIdx.x] = words[threadIdx.x] & (bytes[threadIdx.x] << 24 | 0xffffff);
    words[threadIdx.x] = 0;
}

__global__ void warp_sums(int* out) {
    const unsigned all = 0xffffffffu;
    int sum = static_cast<int>(threadIdx.x), butterfly = sum;
    for (int step = 16; step; step /= 2) sum += __shfl_down_sync(all, sum, step), butterfly += __shfl_xor_sync(all, butterfly, step);
    const int first = __shfl_sync(all, sum, 0), before = __shfl_up_sync(all, static_cast<int>(threadIdx.x), 1);
    const bool odd = threadIdx.x % 2;
    const bool votes = __ballot_sync(all, odd) == 0xaaaaaaaau && __any_sync(all, odd) && !__all_sync(all, odd) && __all_sync(all, 1);
    out[threadIdx.x] = first == butterfly && votes && before == static_cast<int>(threadIdx.x) - (threadIdx.x % 32 ? 1 : 0) ? first : -1;
}

// What: which kernel, with 64 threads; `value` is its parameter. Returns 0, or 1 with the fault in `message`.
extern "C" int luss_run_fault(int what, int value, int* out, int order, char* message, int room) {
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        Guarded<int> result(out, 64);
        int* to = result.data();
        if (what == 0) LUSS_LAUNCH(neighbour, 1, 64, 0, nullptr, to, value);
        if (what == 1) LUSS_LAUNCH(divergent, 1, 64, 0, nullptr, to);
        if (what == 2) LUSS_LAUNCH(shifted, 1, 64, 0, nullptr, to, value);
        if (what == 3) LUSS_LAUNCH(over_shared, 1, 64, 100, nullptr, to, value);
        if (what == 4) LUSS_LAUNCH(unset, 2, 64, 64, nullptr, to);
        if (what == 5) LUSS_LAUNCH(warp_sums, 1, 64, 0, nullptr, to);
        if (what == 6) LUSS_LAUNCH(warp_sums, 1, 1025, 0, nullptr, to);
        result.copy_to(out, "out");
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}

extern "C" void luss_halves(const float* values, int count, uint16_t* halves, float* back) {
    for (int i = 0; i < count; ++i) {
        const __half half = __float2half_rn(values[i]);
        halves[i] = half.bits, back[i] = __half2float(half);
    }
}
