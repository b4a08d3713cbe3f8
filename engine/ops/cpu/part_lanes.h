// The first lanes of a vector: what is left over at the end of a row, read and written without touching what lies behind it.
#pragma once
#include "lanes.h"

namespace luss {

#if defined(__AVX512BW__)
typedef __mmask16 part;
inline part first_lanes(int count) { return static_cast<part>(count >= LANES ? 0xffff : count <= 0 ? 0 : (1 << count) - 1); }
inline vf load_part(const float* from, part lanes, vf other) { return (vf)_mm512_mask_loadu_ps((__m512)other, lanes, from); }
inline void store_part(int32_t* to, vi v, part lanes) { _mm512_mask_storeu_epi32(to, lanes, (__m512i)v); }
inline unsigned lanes_at_least(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ); }
#elif defined(__AVX2__)
typedef __m256i part;
inline part first_lanes(int count) { return (__m256i)(lane_numbers() < count); }
inline vf load_part(const float* from, part lanes, vf other) {
    return (vf)_mm256_blendv_ps((__m256)other, _mm256_maskload_ps(from, lanes), _mm256_castsi256_ps(lanes));
}
inline void store_part(int32_t* to, vi v, part lanes) { _mm256_maskstore_epi32(to, lanes, (__m256i)v); }
inline unsigned lanes_at_least(vf a, vf b) { return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GE_OQ)); }
#else
typedef int part;
inline part first_lanes(int count) { return count < LANES ? count : LANES; }
inline vf load_part(const float* from, part lanes, vf other) {
    for (int i = 0; i < lanes; ++i) other[i] = from[i];
    return other;
}
inline void store_part(int32_t* to, vi v, part lanes) {
    for (int i = 0; i < lanes; ++i) to[i] = v[i];
}
inline unsigned lanes_at_least(vf a, vf b) {
    unsigned bits = 0;
    for (int i = 0; i < LANES; ++i) bits |= static_cast<unsigned>(a[i] >= b[i]) << i;
    return bits;
}
#endif

inline vi most(vi a, vi b) { return a > b ? a : b; }

} // namespace luss
