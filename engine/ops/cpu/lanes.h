// Vectors of the machine's width in g++'s vector extension: the same source for SSE2, AVX2, AVX-512 and others.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

namespace luss {

#if defined(__AVX512BW__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint8_t vb __attribute__((vector_size(LANES)));
typedef uint8_t b16 __attribute__((vector_size(16)));

template <class V> inline V load(const void* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class V> inline void store(void* p, V v) { std::memcpy(p, &v, sizeof v); }

inline vf floats(vi v) { return __builtin_convertvector(v, vf); }
inline vf floats(vb v) { return floats(__builtin_convertvector(v, vi)); }
inline vi truncated(vf v) { return __builtin_convertvector(v, vi); }
inline vf whole(vf v) { return floats(truncated(v)); } // towards zero
inline vb bytes(vf v) { return __builtin_convertvector(truncated(v), vb); } // lanes must lie in [0, 256)
inline vf least(vf a, vf b) { return a < b ? a : b; }
inline vf most(vf a, vf b) { return a > b ? a : b; }
inline vf every(float x) { return x - vf{}; }
inline vi lane_numbers() {
    vi v;
    for (int i = 0; i < LANES; ++i) v[i] = i;
    return v;
}

// The two halves of a0 b0 a1 b1 ...
template <class V, class M, int... I> inline void interleave(V a, V b, V& low, V& high, std::integer_sequence<int, I...>) {
    constexpr int n = sizeof...(I);
    low = __builtin_shuffle(a, b, M{(I / 2 + I % 2 * n)...});
    high = __builtin_shuffle(a, b, M{(n / 2 + I / 2 + I % 2 * n)...});
}

// Transposes the N x N elements of N vectors: log2(N) rounds of interleaving vector i with vector i + N / 2.
template <class V, class M, int N> inline void transpose(V (&v)[N]) {
    V other[N];
#pragma GCC unroll 4
    for (int round = 1; round < N; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < N / 2; ++i) interleave<V, M>(v[i], v[i + N / 2], other[2 * i], other[2 * i + 1], std::make_integer_sequence<int, N>());
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) v[i] = other[i];
    }
}

} // namespace luss
