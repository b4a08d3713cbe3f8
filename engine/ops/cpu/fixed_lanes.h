// Numbers times a power of two, rounded half to even to 64-bit whole numbers: exact where the product is below 2^63 in size, unspecified beyond
// and for NaN. The product itself loses nothing: a power of two that enlarges rounds no number, and one that becomes infinite is out of range.
#pragma once
#include <cmath>

#include "gemm_pack.h"

namespace luss {

#if defined(__AVX512BW__) && defined(__AVX512DQ__)
constexpr int FIXED_LANES = 8;
#else
constexpr int FIXED_LANES = 4;
#endif
typedef uint64_t vfixed __attribute__((vector_size(8 * FIXED_LANES))); // two's complement: sums that leave 63 bits wrap around

inline uint64_t fixed(float value, float scale) { return static_cast<uint64_t>(std::llrint(value * scale)); }

#if defined(__AVX512BW__) && defined(__AVX512DQ__)
inline vfixed fixed_of(__m256 v, float scale) {
    return (vfixed)_mm512_cvt_roundps_epi64(_mm256_mul_ps(v, _mm256_set1_ps(scale)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline vfixed fixed_at(const float* from, float scale) { return fixed_of(_mm256_loadu_ps(from), scale); }
inline vfixed fixed_at(const uint16_t* from, float scale) { return fixed_of(_mm256_cvtph_ps(load<__m128i>(from)), scale); }
#elif defined(__AVX2__)
// In two parts, which a float of 24 bits has exactly: what is left of whole 2^32 (below 2^32), and those. Only one of them is ever rounded: the
// first, in float64 beside 1.5 * 2^52, whose last bit is 1.
inline vfixed fixed_of(__m128 v, float scale) {
    v = _mm_mul_ps(v, _mm_set1_ps(scale));
    const __m128i high = _mm_cvttps_epi32(_mm_mul_ps(v, _mm_set1_ps(1 / 4294967296.0f)));
    const __m128 low = _mm_sub_ps(v, _mm_mul_ps(_mm_cvtepi32_ps(high), _mm_set1_ps(4294967296.0f)));
    const __m256d beside = _mm256_set1_pd(6755399441055744.0);
    const __m256i rounded = _mm256_sub_epi64(_mm256_castpd_si256(_mm256_add_pd(_mm256_cvtps_pd(low), beside)), _mm256_castpd_si256(beside));
    return (vfixed)_mm256_add_epi64(rounded, _mm256_slli_epi64(_mm256_cvtepi32_epi64(high), 32));
}
inline vfixed fixed_at(const float* from, float scale) { return fixed_of(_mm_loadu_ps(from), scale); }
#if defined(__F16C__)
inline vfixed fixed_at(const uint16_t* from, float scale) {
    return fixed_of(_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))), scale);
}
#else
inline vfixed fixed_at(const uint16_t* from, float scale) {
    return fixed_of(_mm_setr_ps(number(from[0]), number(from[1]), number(from[2]), number(from[3])), scale);
}
#endif
#else
template <class T> inline vfixed fixed_at(const T* from, float scale) {
    vfixed v;
    for (int i = 0; i < FIXED_LANES; ++i) v[i] = fixed(number(from[i]), scale);
    return v;
}
#endif

} // namespace luss
