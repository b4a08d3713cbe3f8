// Vectors of the machine's width in g++'s vector extension: the same source for SSE2, AVX2, AVX-512 and others.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

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
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef uint8_t vb __attribute__((vector_size(LANES)));
typedef uint8_t b16 __attribute__((vector_size(16)));

template <class V> inline V load(const void* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class V> inline void store(void* p, V v) { std::memcpy(p, &v, sizeof v); }

inline vf floats(vi v) { return __builtin_convertvector(v, vf); }
inline vi truncated(vf v) { return __builtin_convertvector(v, vi); }

// Bytes to whole numbers; and sums in 2^-BITS of a level, unsigned, below 2^(32 - BITS) levels, to levels cut off at 255.
#if defined(__AVX512BW__)
inline vi numbers(vb v) { return (vi)_mm512_cvtepu8_epi32((__m128i)v); }
template <int BITS> inline vb levels(vi sum) { return (vb)_mm512_cvtusepi32_epi8(_mm512_srli_epi32((__m512i)sum, BITS)); }
#elif defined(__AVX2__)
inline vi numbers(vb v) { return (vi)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)v)); }
template <int BITS> inline vb levels(vi sum) {
    const __m256i whole = _mm256_srli_epi32((__m256i)sum, BITS);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    return (vb)_mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}
#else
inline vi numbers(vb v) { return __builtin_convertvector(v, vi); }
template <int BITS> inline vb levels(vi sum) {
    const vi whole = (vi)((vu)sum >> BITS), white = 255 + vi{};
    return __builtin_convertvector(whole < white ? whole : white, vb);
}
#endif

// Bytes to floats and back (lanes in [0, 256), cut off), smaller, larger, and whole numbers towards zero: g++ 12 makes poor code of these from the extension alone.
#if defined(__AVX512BW__)
inline vf floats(vb v) { return (vf)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32((__m128i)v)); }
inline vb bytes(vf v) { return (vb)_mm512_cvtepi32_epi8(_mm512_cvttps_epi32((__m512)v)); }
inline vf least(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
inline vf most(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
inline vf whole(vf v) { return (vf)_mm512_roundscale_ps((__m512)v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
#elif defined(__AVX2__)
inline vf floats(vb v) { return (vf)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)v))); }
inline vb bytes(vf v) {
    const __m256i whole = _mm256_cvttps_epi32((__m256)v);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    return (vb)_mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}
inline vf least(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
inline vf most(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
inline vf whole(vf v) { return (vf)_mm256_round_ps((__m256)v, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
#else
inline vf floats(vb v) { return floats(__builtin_convertvector(v, vi)); }
inline vb bytes(vf v) { return __builtin_convertvector(truncated(v), vb); }
inline vf least(vf a, vf b) { return a < b ? a : b; }
inline vf most(vf a, vf b) { return a > b ? a : b; }
inline vf whole(vf v) { return floats(truncated(v)); }
#endif

// a * b + c, rounded ROUNDINGS times: once where the machine does that at full speed.
#if defined(__AVX512BW__)
inline vf fused(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
constexpr int ROUNDINGS = 1;
#elif defined(__AVX2__) && defined(__FMA__)
inline vf fused(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
constexpr int ROUNDINGS = 1;
#elif defined(__FP_FAST_FMAF)
inline vf fused(vf a, vf b, vf c) {
    for (int i = 0; i < LANES; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}
constexpr int ROUNDINGS = 1;
#else
inline vf fused(vf a, vf b, vf c) { return a * b + c; }
constexpr int ROUNDINGS = 2;
#endif

inline vf constant(float x, vf) { return x + vf{}; }
inline vf select(vi yes, vf a, vf b) { return yes ? a : b; }
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
