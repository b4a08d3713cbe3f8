// Packing of matrices for gemm_tile.h, from float32 or float16 (bits in uint16_t), and a row of either as float32.
#pragma once
#include "gemm_tile.h"

namespace luss {

inline float number(float x) { return x; }
inline float number(uint16_t half) {
    const uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
    uint32_t bits;
    float value;
    if (rest >= 0x7c00u) { // infinity, NaN
        bits = sign | 0x7f800000u | (rest & 0x3ffu) << 13;
    } else if (rest >= 0x400u) {
        bits = sign | ((rest << 13) + 0x38000000u);
    } else { // subnormal: rest * 2^-24, exactly
        value = static_cast<float>(rest) * 5.9604644775390625e-8f;
        std::memcpy(&bits, &value, 4);
        bits |= sign;
    }
    std::memcpy(&value, &bits, 4);
    return value;
}

inline vf floats_at(const float* from) { return load<vf>(from); }
#if defined(__AVX512BW__)
inline vf floats_at(const uint16_t* from) { return (vf)_mm512_cvtph_ps(load<__m256i>(from)); }
#elif defined(__AVX2__) && defined(__F16C__)
inline vf floats_at(const uint16_t* from) { return (vf)_mm256_cvtph_ps(load<__m128i>(from)); }
#else
inline vf floats_at(const uint16_t* from) {
    vf v;
    for (int i = 0; i < LANES; ++i) v[i] = number(from[i]);
    return v;
}
#endif

/* A's panels: rows (count, depth) at distance `stride`, all at once. Panel after panel (words, ROWS) for the first DEPTH_BLOCK words, then for
   the next: in the order in which gemm_block reads them. */
template <int ROWS> inline void pack_rows(const float* rows, int64_t stride, int count, int depth, float* to) {
    for (int start = 0; start < depth; start += DEPTH_BLOCK)
        for (int first = 0; first < count; first += ROWS) {
            const float* from = rows + first * stride;
            const int have = count - first < ROWS ? count - first : ROWS;
            const int end = depth - start < DEPTH_BLOCK ? depth : start + DEPTH_BLOCK;
            for (int p = start; p < end; ++p, to += ROWS)
                for (int i = 0; i < ROWS; ++i) to[i] = i < have ? from[i * stride + p] : 0;
        }
}

// Where that order puts word `word` of row `row`.
template <int ROWS> inline size_t place_in_rows(int panels, int words, int row, int word) {
    const int start = word / DEPTH_BLOCK * DEPTH_BLOCK, length = words - start < DEPTH_BLOCK ? words - start : DEPTH_BLOCK;
    return (static_cast<size_t>(start) * panels + static_cast<size_t>(row / ROWS) * length + (word - start)) * ROWS + row % ROWS;
}

// LANES vectors of LANES numbers, element p of all of them to to[p * TILE_COLUMNS].
#if defined(__AVX512BW__)
// Quarters of four vectors are put together while they are loaded; what is left are 4 x 4 transpositions inside quarters: half of the shuffles.
inline void store_transposed(const float* const (&from)[LANES], float* to) {
    for (int quarter = 0; quarter < 4; ++quarter) {
        __m512 v[4];
        for (int i = 0; i < 4; ++i) {
            v[i] = _mm512_castps128_ps512(_mm_loadu_ps(from[i] + 4 * quarter));
            v[i] = _mm512_insertf32x4(v[i], _mm_loadu_ps(from[i + 4] + 4 * quarter), 1);
            v[i] = _mm512_insertf32x4(v[i], _mm_loadu_ps(from[i + 8] + 4 * quarter), 2);
            v[i] = _mm512_insertf32x4(v[i], _mm_loadu_ps(from[i + 12] + 4 * quarter), 3);
        }
        const __m512d low = (__m512d)_mm512_unpacklo_ps(v[0], v[1]), low2 = (__m512d)_mm512_unpacklo_ps(v[2], v[3]);
        const __m512d high = (__m512d)_mm512_unpackhi_ps(v[0], v[1]), high2 = (__m512d)_mm512_unpackhi_ps(v[2], v[3]);
        float* at = to + static_cast<size_t>(4 * quarter) * TILE_COLUMNS;
        store(at, _mm512_unpacklo_pd(low, low2));
        store(at + TILE_COLUMNS, _mm512_unpackhi_pd(low, low2));
        store(at + 2 * TILE_COLUMNS, _mm512_unpacklo_pd(high, high2));
        store(at + 3 * TILE_COLUMNS, _mm512_unpackhi_pd(high, high2));
    }
}
#else
inline void store_transposed(const float* const (&from)[LANES], float* to) {
    vf square[LANES];
    for (int j = 0; j < LANES; ++j) square[j] = load<vf>(from[j]);
    transpose<vf, vi>(square);
    for (int j = 0; j < LANES; ++j) store(to + static_cast<size_t>(j) * TILE_COLUMNS, square[j]);
}
#endif

// Where the numbers from[0..LANES) lie as float32: there, or converted in `space`.
inline const float* as_floats(const float* from, float*) { return from; }
inline const float* as_floats(const uint16_t* from, float* space) {
    store(space, floats_at(from));
    return space;
}

/* B's panel from vectors: column j of the panel is from[j][0..depth), j < count <= TILE_COLUMNS. Where the vectors lie one after another, `ahead`
   (their distance in memory, times LANES) has the next ones fetched; it may point anywhere, 0 is as good as none. */
template <class T> inline void pack_vectors(const T* const* from, int count, int depth, float* to, int64_t ahead = 0) {
    static const float zeros[LANES] = {};
    alignas(64) float space[LANES][LANES];
    for (int half = 0; half < 2; ++half) {
        const int have = count - half * LANES < LANES ? count - half * LANES : LANES;
        int p = 0;
        for (; p + LANES <= depth; p += LANES) {
            const float* square[LANES];
            for (int j = 0; j < LANES; ++j) {
                square[j] = j < have ? as_floats(from[half * LANES + j] + p, space[j]) : zeros;
                if (j < have) __builtin_prefetch(from[half * LANES + j] + ahead + p);
            }
            store_transposed(square, to + static_cast<size_t>(p) * TILE_COLUMNS + half * LANES);
        }
        for (; p < depth; ++p)
            for (int j = 0; j < LANES; ++j)
                to[static_cast<size_t>(p) * TILE_COLUMNS + half * LANES + j] = j < have ? number(from[half * LANES + j][p]) : 0;
    }
}

// B's panel from a matrix whose columns lie side by side, as in NCHW images: column j at step p is from[p * stride + j], j < count <= TILE_COLUMNS.
template <class T> inline void pack_columns(const T* from, int64_t stride, int count, int depth, float* to) {
    for (int p = 0; p < depth; ++p, from += stride, to += TILE_COLUMNS) {
        if (count >= TILE_COLUMNS) {
            store(to, floats_at(from));
            store(to + LANES, floats_at(from + LANES));
        } else {
            for (int j = 0; j < TILE_COLUMNS; ++j) to[j] = j < count ? number(from[j]) : 0;
        }
    }
}

} // namespace luss
