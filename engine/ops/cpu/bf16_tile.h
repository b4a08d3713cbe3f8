/* gemm_tile.h with bfloat16 factors and float32 sums, twice as fast where the processor has AVX512-BF16 (LUSS_HAS_BF16). A word holds two numbers
   that follow each other in depth, the first in its low half. Numbers are rounded to nearest even; subnormal ones become 0, which the norms of
   what rounding took away (`lost`) include. vdpbf16ps rounds at most twice a word and takes results below 2^-126 for 0. */
#pragma once
#include "gemm_pack.h"
#include "row_distance.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define LUSS_HAS_BF16 1

namespace luss {

struct bf16_product {
    static vf add(vf a, vf b) { return a + b; }
    static vf step(vf sum, vf a, vf b) { return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b); }
};

inline int bf16_words(int depth) { return (depth + 1) / 2; }

// 16 numbers rounded, as 8 words; what rounding took away in `lost`.
inline __m256i rounded(vf x, vf& lost) {
    const __m256i half = (__m256i)_mm512_cvtneps_pbh((__m512)x);
    lost = x - (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
    return half;
}

// Up to 32 numbers of a vector from `from`, zeros after `have`, as 16 words; the squares of the numbers and of what rounding took away are added up.
template <class T> inline vf rounded_words(const T* from, int have, vf& squares, vf& lost_squares) {
    vf first, second, lost;
    if (have >= 2 * LANES) {
        first = floats_at(from);
        second = floats_at(from + LANES);
    } else {
        float numbers[2 * LANES] = {};
        for (int i = 0; i < have; ++i) numbers[i] = number(from[i]);
        first = load<vf>(numbers);
        second = load<vf>(numbers + LANES);
    }
    const __m256i low = rounded(first, lost);
    squares = fused(first, first, squares);
    lost_squares = fused(lost, lost, lost_squares);
    const __m256i high = rounded(second, lost);
    squares = fused(second, second, squares);
    lost_squares = fused(lost, lost, lost_squares);
    return (vf)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* pack_vectors of gemm_pack.h into words; also |vector|^2 and |vector - rounded vector|^2 of each column. */
template <class T>
inline void pack_vectors_bf16(const T* const* from, int count, int depth, float* to, float* squares, float* lost_squares, int64_t ahead = 0) {
    alignas(64) float space[LANES][LANES], unused[LANES][TILE_COLUMNS];
    const float* square[LANES];
    for (int j = 0; j < LANES; ++j) square[j] = space[j];
    for (int half = 0; half < 2; ++half) {
        const int have = count - half * LANES < LANES ? count - half * LANES : LANES;
        vf sums[LANES] = {}, losses[LANES] = {};
        for (int p = 0; p < depth; p += 2 * LANES) {
            for (int j = 0; j < LANES; ++j) {
                if (j < have) {
                    const T* row = from[half * LANES + j] + p;
                    store(space[j], rounded_words(row, depth - p, sums[j], losses[j]));
                    __builtin_prefetch(row + ahead);
                    __builtin_prefetch(row + ahead + LANES);
                } else {
                    store(space[j], vf{});
                }
            }
            const int words = bf16_words(depth - p) < LANES ? bf16_words(depth - p) : LANES;
            if (words == LANES) {
                store_transposed(square, to + static_cast<size_t>(p / 2) * TILE_COLUMNS + half * LANES);
            } else {
                store_transposed(square, unused[0]);
                for (int j = 0; j < words; ++j) store(to + static_cast<size_t>(p / 2 + j) * TILE_COLUMNS + half * LANES, load<vf>(unused[j]));
            }
        }
        for (int j = 0; j < LANES; ++j) {
            squares[half * LANES + j] = sum_of(sums[j]);
            lost_squares[half * LANES + j] = sum_of(losses[j]);
        }
    }
}

} // namespace luss
#else
#define LUSS_HAS_BF16 0
#endif
