/* The best and the second-best score of every column of a panel, and the row of the best, while tiles pass (row = centroid, column = feature
   vector). Rows come in order and only a larger score wins: equal ones leave the smaller id. NaN is never larger. */
#pragma once
#include "gemm_tile.h"

namespace luss {

#if defined(__AVX512BW__)
inline vi label_where_larger(vf score, vf best, int id, vi label) {
    const __mmask16 larger = _mm512_cmp_ps_mask((__m512)score, (__m512)best, _CMP_GT_OQ);
    return (vi)_mm512_mask_mov_epi32((__m512i)label, larger, _mm512_set1_epi32(id));
}
// A bit for each lane that is not below: also those where either is NaN.
inline uint32_t not_below(vf score, vf limit) { return _mm512_cmp_ps_mask((__m512)score, (__m512)limit, _CMP_NLT_UQ); }
#else
inline vi label_where_larger(vf score, vf best, int id, vi label) { return score > best ? id + vi{} : label; }
inline uint32_t not_below(vf score, vf limit) {
    const vi below = score < limit;
    uint32_t bits = 0;
    for (int i = 0; i < LANES; ++i) bits |= static_cast<uint32_t>(!below[i]) << i;
    return bits;
}
#endif

struct top_two {
    float best[TILE_COLUMNS], second[TILE_COLUMNS];
    int32_t label[TILE_COLUMNS];

    void clear() {
        for (int j = 0; j < TILE_COLUMNS; ++j) best[j] = second[j] = -__builtin_inff(), label[j] = 0;
    }

    // The scores of rows first.. are the sums less their offsets.
    template <int ROWS> void add(const tile<ROWS>& sum, int first, const float* offset) {
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
            vf b = load<vf>(best + v * LANES), s = load<vf>(second + v * LANES);
            vi l = load<vi>(label + v * LANES);
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; ++i) {
                const vf score = sum.at[i][v] - broadcast(offset[i]);
                // `least` and `most` give their second argument where either is NaN: a NaN score leaves both as they were.
                s = most(least(b, score), s);
                l = label_where_larger(score, b, first + i, l);
                b = most(score, b);
            }
            store(best + v * LANES, b);
            store(second + v * LANES, s);
            store(label + v * LANES, l);
        }
    }
};

} // namespace luss
