// Float32 and float16 numbers as vectors of float64, and those as float32 again: half as many as a vector of lanes.h has.
#pragma once
#include "gemm_pack.h"

namespace luss {

constexpr int WIDE = LANES / 2;
typedef double wide __attribute__((vector_size(8 * WIDE)));

// WIDE numbers in float64; and WIDE numbers rounded to float32.
#if defined(__AVX512BW__)
inline wide wide_at(const float* from) { return (wide)_mm512_cvtps_pd(load<__m256>(from)); }
inline wide wide_at(const uint16_t* from) { return (wide)_mm512_cvtps_pd(_mm256_cvtph_ps(load<__m128i>(from))); }
inline void store_narrow(float* to, wide v) { store(to, _mm512_cvtpd_ps((__m512d)v)); }
#elif defined(__AVX2__)
inline wide wide_at(const float* from) { return (wide)_mm256_cvtps_pd(load<__m128>(from)); }
#if defined(__F16C__)
inline wide wide_at(const uint16_t* from) { return (wide)_mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)))); }
#else
inline wide wide_at(const uint16_t* from) { return wide{number(from[0]), number(from[1]), number(from[2]), number(from[3])}; }
#endif
inline void store_narrow(float* to, wide v) { store(to, _mm256_cvtpd_ps((__m256d)v)); }
#else
template <class T> inline wide wide_at(const T* from) {
    wide numbers;
    for (int i = 0; i < WIDE; ++i) numbers[i] = number(from[i]);
    return numbers;
}
inline void store_narrow(float* to, wide v) {
    for (int i = 0; i < WIDE; ++i) to[i] = static_cast<float>(v[i]);
}
#endif

} // namespace luss
