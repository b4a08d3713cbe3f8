// Barriers, shuffles, votes, matches, reductions and atomics.
#pragma once
#include "fibers.h"

inline void __syncthreads() { cuda_on_cpu::wait(cuda_on_cpu::AT_BLOCK_BARRIER); }
inline void __syncwarp(unsigned mask = ~0u) { cuda_on_cpu::wait(cuda_on_cpu::AT_WARP_BARRIER, mask, 1); }

namespace cuda_on_cpu {

inline int lane() { return machine().current->number % 32; }

// The fiber of a lane of the running fiber's warp; null where the block has no such thread.
inline Fiber* neighbour(int lane) {
    Machine& m = machine();
    const size_t number = m.current->number / 32 * 32 + lane;
    return lane >= 0 && lane < 32 && number < m.fibers.size() ? &m.fibers[number] : nullptr;
}

template <class T> T value_of(const Fiber& fiber) {
    T value;
    std::memcpy(&value, &fiber.slot, sizeof value);
    return value;
}

// Every lane of `mask` gives its value, all meet, `look` may read the others' slots, all meet again.
template <class T, class Look> void meet(unsigned mask, T value, int site, Look look) {
    static_assert(sizeof(T) <= 8, "values of warp operations have at most 8 bytes");
    Fiber* self = machine().current;
    self->slot = 0;
    std::memcpy(&self->slot, &value, sizeof value);
    wait(AT_WARP_BARRIER, mask, site);
    look();
    wait(AT_WARP_BARRIER, mask, -site);
}

// The value of lane `source`; the own one where that lane is not there.
template <class T> T exchange(unsigned mask, T value, int source, int site) {
    T result = value;
    meet(mask, value, site, [&] {
        if (const Fiber* other = neighbour(source)) result = value_of<T>(*other);
    });
    return result;
}

// The lanes of `mask` whose value satisfies `wanted`.
template <class T, class Wanted> unsigned lanes_where(unsigned mask, T value, int site, Wanted wanted) {
    unsigned result = 0;
    meet(mask, value, site, [&] {
        for (int i = 0; i < 32; ++i) {
            const Fiber* other = neighbour(i);
            if ((mask >> i & 1) && other && wanted(value_of<T>(*other))) result |= 1u << i;
        }
    });
    return result;
}
inline unsigned ballot(unsigned mask, bool yes, int site) {
    return lanes_where(mask, static_cast<unsigned>(yes), site, [](unsigned other) { return other != 0; });
}

template <class T, class Combine> T reduce(unsigned mask, T value, int site, Combine combine) {
    T result = value;
    meet(mask, value, site, [&] {
        for (int i = 0; i < 32; ++i) {
            const Fiber* other = neighbour(i);
            if ((mask >> i & 1) && other && i != lane()) result = combine(result, value_of<T>(*other));
        }
    });
    return result;
}

// A block barrier at which every thread gives a number; the sum of all.
inline long long block_sum(long long value, int site) {
    Machine& m = machine();
    m.current->slot = static_cast<uint64_t>(value);
    wait(AT_BLOCK_BARRIER, 0, site);
    return m.block_votes; // until the next barrier, which needs all threads
}

} // namespace cuda_on_cpu

inline int __syncthreads_count(int yes) { return static_cast<int>(cuda_on_cpu::block_sum(yes != 0, 1)); }
inline int __syncthreads_or(int yes) { return cuda_on_cpu::block_sum(yes != 0, 2) != 0; }
inline int __syncthreads_and(int yes) { return cuda_on_cpu::block_sum(yes == 0, 3) == 0; }

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
template <class T> unsigned __match_any_sync(unsigned mask, T value) {
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return cuda_on_cpu::lanes_where(mask, bits, 9, [=](uint64_t other) { return other == bits; });
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value) { return cuda_on_cpu::reduce(mask, value, 10, std::plus<unsigned>()); }
inline int __reduce_add_sync(unsigned mask, int value) { return static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(value))); }
template <class T> T __reduce_max_sync(unsigned mask, T value) {
    return cuda_on_cpu::reduce(mask, value, 11, [](T a, T b) { return std::max(a, b); });
}
template <class T> T __reduce_min_sync(unsigned mask, T value) {
    return cuda_on_cpu::reduce(mask, value, 12, [](T a, T b) { return std::min(a, b); });
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value) { return cuda_on_cpu::reduce(mask, value, 13, std::bit_or<unsigned>()); }
inline unsigned __reduce_and_sync(unsigned mask, unsigned value) { return cuda_on_cpu::reduce(mask, value, 14, std::bit_and<unsigned>()); }

// One fiber runs at a time, so these are atomic as they stand. The types are CUDA's: float, double, int, unsigned, unsigned long long.
namespace cuda_on_cpu {
template <class T, class Change> T change(T* at, Change to) {
    const T old = *at;
    *at = static_cast<T>(to(old));
    return old;
}
template <class T> struct same {
    typedef T type;
};
} // namespace cuda_on_cpu
// The second operand converts to the first one's type, as with CUDA's overloads.
#define LUSS_ATOMIC(name, result) \
    template <class T> T name(T* at, typename cuda_on_cpu::same<T>::type value) { return cuda_on_cpu::change(at, [=](T old) { return result; }); }
LUSS_ATOMIC(atomicAdd, old + value)
LUSS_ATOMIC(atomicSub, old - value)
LUSS_ATOMIC(atomicMax, std::max<T>(old, value))
LUSS_ATOMIC(atomicMin, std::min<T>(old, value))
LUSS_ATOMIC(atomicOr, old | value)
LUSS_ATOMIC(atomicAnd, old & value)
LUSS_ATOMIC(atomicXor, old ^ value)
LUSS_ATOMIC(atomicExch, value)
#undef LUSS_ATOMIC
template <class T> T atomicCAS(T* at, typename cuda_on_cpu::same<T>::type expected, typename cuda_on_cpu::same<T>::type value) {
    return cuda_on_cpu::change(at, [=](T old) { return old == expected ? value : old; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}
