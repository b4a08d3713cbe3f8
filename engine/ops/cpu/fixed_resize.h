// Pillow's 8-bit bilinear resampling of a whole image, of which only the pixels that a cut shows are computed. Two passes, each rounded to 8 bits.
// The pass along the rows works on 16 rows at a time, transposed, so that one vector holds a byte of each and no tap is gathered; its sums are
// transposed back. The pass down the columns adds rows, weighted. Between the passes stand as few rows of bytes as the second one still needs.
#pragma once
#include <cstddef>

#include "fixed_taps.h"
#include "lanes.h"

namespace luss {

// LANES bytes to whole numbers, and sums in 2^-22 of a level to levels 0..255 (no weight is negative, so no sum is).
#if defined(__AVX512BW__)
inline vi numbers(vb v) { return (vi)_mm512_cvtepu8_epi32((__m128i)v); }
inline vb levels(vi sum) { return (vb)_mm512_cvtusepi32_epi8(_mm512_srli_epi32((__m512i)sum, FIXED_BITS)); }
#elif defined(__AVX2__)
inline vi numbers(vb v) { return (vi)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)v)); }
inline vb levels(vi sum) {
    const __m256i whole = _mm256_srli_epi32((__m256i)sum, FIXED_BITS);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    return (vb)_mm_cvtsi128_si64(_mm_packus_epi16(words, words));
}
#else
inline vi numbers(vb v) { return __builtin_convertvector(v, vi); }
inline vb levels(vi sum) {
    const vi whole = sum >> FIXED_BITS, white = 255 + vi{};
    return __builtin_convertvector(whole < white ? whole : white, vb);
}
#endif

// A vector of which `bytes` lie before the end of the row.
template <class V> inline V load_some(const uint8_t* p, int bytes) {
    if (bytes >= static_cast<int>(sizeof(V))) return load<V>(p);
    V v = {};
    std::memcpy(&v, p, bytes);
    return v;
}

struct FixedResizer {
    static constexpr int BLOCK = 16, HALF = 1 << (FIXED_BITS - 1);

    FixedTaps rows, columns;
    int stride = 0;                      // bytes of a channel's line of the result: the cut's width, rounded up to BLOCK
    std::vector<uint8_t> strip;          // (bytes of a row, BLOCK): rows transposed
    std::vector<uint8_t> between, line;  // rows between the passes; (3, stride)
    std::vector<const uint8_t*> sources; // rows that a row is made of

    // BLOCK rows of interleaved pixels, from columns.begin on, to as many of three lines each.
    void along_rows(const uint8_t* const* source, uint8_t* to) {
        const int length = 3 * (columns.end - columns.begin);
        for (int j = 0; j < length; j += BLOCK) {
            b16 tile[BLOCK];
            for (int r = 0; r < BLOCK; ++r) tile[r] = load_some<b16>(source[r] + j, length - j);
            transpose<b16, b16, BLOCK>(tile);
            for (int i = 0; i < BLOCK; ++i) store(&strip[static_cast<size_t>(j + i) * BLOCK], tile[i]);
        }
        for (int o0 = 0; o0 < stride; o0 += BLOCK) {
            b16 tile[3][BLOCK] = {};
            for (int i = 0; i < BLOCK && o0 + i < columns.axis.length; ++i) {
                const int32_t* w = columns.row(o0 + i);
                const int count = columns.count[o0 + i];
                const uint8_t* p = &strip[static_cast<size_t>(columns.first[o0 + i] - columns.begin) * 3 * BLOCK];
                for (int part = 0; part < BLOCK; part += LANES, p += LANES) {
                    vi sum[3] = {HALF + vi{}, HALF + vi{}, HALF + vi{}};
                    for (int k = 0; k < count; ++k)
                        for (int c = 0; c < 3; ++c) sum[c] += w[k] * numbers(load<vb>(p + (3 * k + c) * BLOCK));
                    for (int c = 0; c < 3; ++c) {
                        const vb rounded = levels(sum[c]);
                        std::memcpy(reinterpret_cast<uint8_t*>(&tile[c][i]) + part, &rounded, LANES);
                    }
                }
            }
            for (int c = 0; c < 3; ++c) {
                transpose<b16, b16, BLOCK>(tile[c]);
                for (int r = 0; r < BLOCK; ++r) store(to + static_cast<size_t>(r * 3 + c) * stride + o0, tile[c][r]);
            }
        }
    }

    // `bytes` of row y of the result, from `sources`; up to LANES more are written.
    void down_columns(int y, int bytes, uint8_t* to) {
        const int count = rows.count[y];
        const int32_t* const w = rows.row(y);
        int x = 0;
        for (; x + 3 * LANES <= bytes; x += 3 * LANES) {
            vi sum[3] = {HALF + vi{}, HALF + vi{}, HALF + vi{}};
            for (int k = 0; k < count; ++k)
                for (int i = 0; i < 3; ++i) sum[i] += w[k] * numbers(load<vb>(sources[k] + x + i * LANES));
            for (int i = 0; i < 3; ++i) store(to + x + i * LANES, levels(sum[i]));
        }
        for (; x < bytes; x += LANES) {
            vi sum = HALF + vi{};
            for (int k = 0; k < count; ++k) sum += w[k] * numbers(load_some<vb>(sources[k] + x, bytes - x));
            store(to + x, levels(sum));
        }
    }

    // A ring of rows stands between the passes: what a row needs, and what its last block made beyond it.
    template <class Write> void rows_first(const uint8_t* image, size_t pitch, const Write& write) {
        const size_t capacity = (static_cast<size_t>(rows.span) + 2 * BLOCK - 1) / BLOCK * BLOCK, size = static_cast<size_t>(3) * stride;
        between.resize(capacity * size);
        line.resize(size);
        int made = rows.begin;
        const auto slot = [&](int row) { return &between[(row - rows.begin) % capacity * size]; };
        for (int y = 0; y < rows.axis.length; ++y) {
            for (; made < rows.first[y] + rows.count[y]; made += BLOCK) {
                const uint8_t* source[BLOCK];
                for (int r = 0; r < BLOCK; ++r) source[r] = image + std::min(made + r, rows.end - 1) * pitch;
                along_rows(source, slot(made));
            }
            for (int k = 0; k < rows.count[y]; ++k) sources[k] = slot(rows.first[y] + k);
            down_columns(y, static_cast<int>(size), line.data());
            write(y, line.data());
        }
    }

    template <class Write> void columns_first(const uint8_t* image, size_t pitch, const Write& write) {
        const int length = 3 * (columns.end - columns.begin);
        between.resize(static_cast<size_t>(length + LANES) * BLOCK);
        line.resize(static_cast<size_t>(3) * stride * BLOCK);
        for (int top = 0; top < rows.axis.length; top += BLOCK) {
            const int bottom = std::min(top + BLOCK, rows.axis.length);
            const uint8_t* source[BLOCK];
            for (int y = top; y < bottom; ++y) {
                for (int k = 0; k < rows.count[y]; ++k) sources[k] = image + (rows.first[y] + k) * pitch;
                down_columns(y, length, &between[static_cast<size_t>(length + LANES) * (y - top)]);
            }
            for (int r = 0; r < BLOCK; ++r) source[r] = &between[static_cast<size_t>(length + LANES) * std::min(r, bottom - top - 1)];
            along_rows(source, line.data());
            for (int y = top; y < bottom; ++y) write(y, &line[static_cast<size_t>(3) * stride * (y - top)]);
        }
    }

    // Calls write(y, line) for every row of the cut; `line` is (3, stride) bytes.
    template <class Write> void run(const uint8_t* image, const FixedAxis& down, const FixedAxis& across, const Write& write) {
        rows.make(down);
        columns.make(across);
        stride = (across.length + BLOCK - 1) / BLOCK * BLOCK;
        strip.resize((static_cast<size_t>(3) * (columns.end - columns.begin) + BLOCK) * BLOCK);
        sources.resize(rows.span);
        const size_t pitch = static_cast<size_t>(3) * across.extent;
        image += static_cast<size_t>(3) * columns.begin;
        if (down_before_across(down, across))
            columns_first(image, pitch, write);
        else
            rows_first(image, pitch, write);
    }
};

} // namespace luss
