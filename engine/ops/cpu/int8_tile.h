/* gemm_tile.h with factors of 8 bits and exact sums of 32, four times as fast as float32 where the processor has AVX512-VNNI (LUSS_HAS_INT8).
   A word holds four numbers that follow each other in depth, the first in its low byte. The instruction multiplies unsigned with signed bytes:
   A's are stored with 128 added, and a column's sums begin at -128 times the sum of its numbers, which takes that back. No sum leaves 32 bits for
   depths up to 65536: 4 x 255 x 127 a word, 16384 words, 2^31 / 1.01. */
#pragma once
#include "gemm_pack.h"
#include "rotation.h"
#include "row_distance.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define LUSS_HAS_INT8 1

namespace luss {

struct int8_product {
    static vf step(vf sum, vf a, vf b) { return (vf)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b); }
    static vf add(vf a, vf b) { return (vf)_mm512_add_epi32((__m512i)a, (__m512i)b); }
    static vf value(vf sum) { return (vf)_mm512_cvtepi32_ps((__m512i)sum); }
};

inline int int8_stride(int depth) { return (depth + 63) / 64 * 64; } // bytes of a row: its words fill whole vectors
inline int int8_words(int depth) { return int8_stride(depth) / 4; }

struct rounded_row {
    float step;          // a number is step times the byte's
    float square, lost;  // |y|^2 and |y - rounded y|^2, as summed in float32
    int32_t sum;         // of the bytes
};

// y = x - middle, rotated, in steps of a 127th of its largest number. `space` holds int8_stride(depth) floats.
template <class T> inline rounded_row round_row(const T* x, const float* middle, int depth, const rotation& turn, float* space, int8_t* to) {
    vf squares = {}, largest = {}, lost = {};
    int p = 0;
    for (; p + LANES <= depth; p += LANES) {
        const vf y = floats_at(x + p) - load<vf>(middle + p);
        squares = fused(y, y, squares);
        store(space + p, y * load<vf>(turn.signs.data() + p));
    }
    for (int i = p; i < turn.length; ++i) space[i] = i < depth ? (number(x[i]) - middle[i]) * turn.signs[i] : 0;
    if (p < depth) {
        const vf y = load<vf>(space + p);
        squares = fused(y, y, squares);
    }
    turn.spread(space);
    for (p = 0; p < turn.length; p += LANES) largest = most((vf)_mm512_abs_ps((__m512)load<vf>(space + p)), largest);
    // Rows of zeros, and of numbers so small that their squares vanish, get a step that is as good as any.
    const float step = std::max(_mm512_reduce_max_ps((__m512)largest) * turn.scale, 1e-18f) / 127, inverse = turn.scale / step;
    __m512i sums = _mm512_setzero_si512();
    for (p = 0; p < turn.length; p += LANES) {
        const vf y = load<vf>(space + p);
        const __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32((__m512)(y * broadcast(inverse))));
        const __m512i q = _mm512_cvtepi8_epi32(bytes);
        const vf rest = fused((vf)_mm512_cvtepi32_ps(q), broadcast(-step), y * broadcast(turn.scale));
        lost = fused(rest, rest, lost);
        sums = _mm512_add_epi32(sums, q);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + p), bytes);
    }
    return {step, sum_of(squares), sum_of(lost), _mm512_reduce_add_epi32(sums)};
}

// B's panel from rounded rows: column j is from[j][0..stride), j < count <= TILE_COLUMNS.
inline void pack_words(const int8_t* const* from, int count, int depth, float* to) {
    static const int8_t zeros[4 * LANES] = {};
    for (int half = 0; half < 2; ++half)
        for (int p = 0; p < int8_words(depth); p += LANES) {
            const float* square[LANES];
            for (int j = 0; j < LANES; ++j) {
                const int at = half * LANES + j;
                square[j] = reinterpret_cast<const float*>(at < count ? from[at] + 4 * p : zeros);
            }
            store_transposed(square, to + static_cast<size_t>(p) * TILE_COLUMNS + half * LANES);
        }
}

} // namespace luss
#else
#define LUSS_HAS_INT8 0
#endif
