// What kernels call: indices, barriers, warp operations, atomics, halves and the few functions of the runtime that launchers use.
#pragma once

#define threadIdx (cuda_on_cpu::machine().current->index)
#define blockIdx (cuda_on_cpu::machine().block)
#define blockDim (cuda_on_cpu::machine().block_size)
#define gridDim (cuda_on_cpu::machine().grid_size)
constexpr int warpSize = 32;

inline void __syncthreads() { cuda_on_cpu::wait(cuda_on_cpu::AT_BLOCK_BARRIER); }
inline void __syncwarp(unsigned mask = ~0u) { cuda_on_cpu::wait(cuda_on_cpu::AT_WARP_BARRIER, mask, 1); }

namespace cuda_on_cpu {

// Every lane of `mask` gives its value, all meet, each takes the value of lane `source` (its own where that lane is not there).
template <class T> T exchange(unsigned mask, T value, int source, int site) {
    static_assert(sizeof(T) <= 8, "shuffled values have at most 8 bytes");
    Machine& m = machine();
    Fiber* self = m.current;
    std::memcpy(&self->slot, &value, sizeof value);
    wait(AT_WARP_BARRIER, mask, site);
    const size_t other = self->number / 32 * 32 + source;
    if (source >= 0 && source < 32 && other < m.fibers.size()) std::memcpy(&value, &m.fibers[other].slot, sizeof value);
    wait(AT_WARP_BARRIER, mask, -site);
    return value;
}
inline int lane() { return machine().current->number % 32; }

inline unsigned ballot(unsigned mask, bool yes, int site) {
    Machine& m = machine();
    Fiber* self = m.current;
    self->slot = yes;
    wait(AT_WARP_BARRIER, mask, site);
    unsigned result = 0;
    for (int i = 0; i < 32; ++i) {
        const size_t other = self->number / 32 * 32 + i;
        if ((mask >> i & 1) && other < m.fibers.size()) result |= static_cast<unsigned>(m.fibers[other].slot & 1) << i;
    }
    wait(AT_WARP_BARRIER, mask, -site);
    return result;
}

} // namespace cuda_on_cpu

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    return cuda_on_cpu::exchange(mask, value, (cuda_on_cpu::lane() & ~(width - 1)) | (source & (width - 1)), 2);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int = 32) {
    return cuda_on_cpu::exchange(mask, value, cuda_on_cpu::lane() ^ bits, 3);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned step, int width = 32) {
    const int lane = cuda_on_cpu::lane();
    return cuda_on_cpu::exchange(mask, value, static_cast<int>((lane & (width - 1)) + step) < width ? lane + static_cast<int>(step) : lane, 4);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned step, int width = 32) {
    const int lane = cuda_on_cpu::lane();
    return cuda_on_cpu::exchange(mask, value, (lane & (width - 1)) >= static_cast<int>(step) ? lane - static_cast<int>(step) : lane, 5);
}
inline unsigned __ballot_sync(unsigned mask, int yes) { return cuda_on_cpu::ballot(mask, yes != 0, 6); }
inline int __any_sync(unsigned mask, int yes) { return cuda_on_cpu::ballot(mask, yes != 0, 7) != 0; }
inline int __all_sync(unsigned mask, int yes) { return cuda_on_cpu::ballot(mask, yes == 0, 8) == 0; }

// One fiber runs at a time, so these are atomic as they stand.
template <class T> T atomicAdd(T* at, T value) {
    const T old = *at;
    *at = old + value;
    return old;
}
template <class T> T atomicMax(T* at, T value) {
    const T old = *at;
    *at = std::max(old, value);
    return old;
}
template <class T> T atomicMin(T* at, T value) {
    const T old = *at;
    *at = std::min(old, value);
    return old;
}
template <class T> T atomicCAS(T* at, T expected, T value) {
    const T old = *at;
    if (old == expected) *at = value;
    return old;
}
template <class T> T __ldg(const T* at) { return *at; }

// IEEE half precision, round to nearest, ties to even.
struct __half {
    uint16_t bits;
};
inline __half __float2half_rn(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint16_t sign = bits >> 16 & 0x8000;
    const double size = std::fabs(static_cast<double>(value));
    if (std::isnan(value)) return __half{static_cast<uint16_t>(sign | 0x7e00)};
    if (size >= 65520) return __half{static_cast<uint16_t>(sign | 0x7c00)};
    int exponent = size == 0 ? -14 : std::max(std::ilogb(size), -14);
    const double steps = std::nearbyint(std::ldexp(size, 10 - exponent)); // of 2^(exponent - 10); 2048 carries into the exponent by itself
    return __half{static_cast<uint16_t>(sign | (static_cast<int>(steps) + ((exponent + 14) << 10)))};
}
inline float __half2float(__half half) {
    const int exponent = half.bits >> 10 & 31, fraction = half.bits & 1023;
    const float size = exponent == 31 ? (fraction ? NAN : INFINITY) : exponent ? std::ldexp(1024.0f + fraction, exponent - 25) : std::ldexp(1.0f * fraction, -24);
    return half.bits & 0x8000 ? -size : size;
}

typedef void* cudaStream_t;
typedef int cudaError_t;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t size, cudaStream_t) {
    std::memset(at, value, size);
    return cudaSuccess;
}
