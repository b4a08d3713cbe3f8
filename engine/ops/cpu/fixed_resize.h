// Pillow's 8-bit bilinear resampling of an image or a box of it, of which only the wanted pixels are computed. Two passes, each rounded to 8 bits.
// The pass along the rows works on 16 rows at a time, transposed, so that one vector holds a byte of each and no tap is gathered; its sums are
// transposed back. The pass down the columns adds rows, weighted. Between the passes stand as few rows of bytes as the second one still needs.
#pragma once
#include <cstddef>

#include "fixed_taps.h"
#include "lanes.h"
#include "planes.h"

namespace luss {

// A vector of which `bytes` lie before the end of the row.
template <class V> inline V load_some(const uint8_t* p, int bytes) {
    if (bytes >= static_cast<int>(sizeof(V))) return load<V>(p);
    V v = {};
    std::memcpy(&v, p, bytes);
    return v;
}

struct FixedResizer {
    static constexpr int FIXED_BITS = LUSS_FIXED_BITS, HALF = 1 << (FIXED_BITS - 1);

    FixedTaps rows, columns;
    int stride = 0;                      // bytes of a channel's line of the result: its width, rounded up to BLOCK
    std::vector<uint8_t> strip;          // (bytes of a row, BLOCK): rows transposed
    std::vector<uint8_t> between;        // rows between the passes
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
            for (int i = 0; i < BLOCK && o0 + i < columns.wanted.length; ++i) {
                const int32_t* w = columns.weights(o0 + i);
                const int count = columns.count[o0 + i];
                const uint8_t* p = &strip[static_cast<size_t>(columns.first[o0 + i] - columns.begin) * 3 * BLOCK];
                for (int part = 0; part < BLOCK; part += LANES, p += LANES) {
                    vi sum[3] = {HALF + vi{}, HALF + vi{}, HALF + vi{}};
                    for (int k = 0; k < count; ++k)
                        for (int c = 0; c < 3; ++c) sum[c] += w[k] * numbers(load<vb>(p + (3 * k + c) * BLOCK));
                    for (int c = 0; c < 3; ++c) {
                        const vb rounded = levels<FIXED_BITS>(sum[c]);
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
        const int32_t* const w = rows.weights(y);
        int x = 0;
        for (; x + 3 * LANES <= bytes; x += 3 * LANES) {
            vi sum[3] = {HALF + vi{}, HALF + vi{}, HALF + vi{}};
            for (int k = 0; k < count; ++k)
                for (int i = 0; i < 3; ++i) sum[i] += w[k] * numbers(load<vb>(sources[k] + x + i * LANES));
            for (int i = 0; i < 3; ++i) store(to + x + i * LANES, levels<FIXED_BITS>(sum[i]));
        }
        for (; x < bytes; x += LANES) {
            vi sum = HALF + vi{};
            for (int k = 0; k < count; ++k) sum += w[k] * numbers(load_some<vb>(sources[k] + x, bytes - x));
            store(to + x, levels<FIXED_BITS>(sum));
        }
    }

    // Rows of the next block, into the second-level cache: the hardware does not see through many short rows.
    void ask_for(const uint8_t* image, size_t pitch, int from, int until) const {
        for (int y = from; y < until; ++y)
            for (int j = 0; j < 3 * (columns.end - columns.begin); j += 64) __builtin_prefetch(image + y * pitch + j, 0, 2);
    }

    // A ring of rows stands between the passes: what a row needs, and what its last block made beyond it.
    template <class Lines> void rows_first(const uint8_t* image, size_t pitch, Lines& lines) {
        const size_t capacity = (static_cast<size_t>(rows.span) + 2 * BLOCK - 1) / BLOCK * BLOCK, size = static_cast<size_t>(3) * stride;
        between.resize(capacity * size);
        int made = rows.begin;
        const auto slot = [&](int row) { return &between[(row - rows.begin) % capacity * size]; };
        for (int y = 0; y < rows.wanted.length; ++y) {
            for (; made < rows.first[y] + rows.count[y]; made += BLOCK) {
                const uint8_t* source[BLOCK];
                for (int r = 0; r < BLOCK; ++r) source[r] = image + std::min(made + r, rows.end - 1) * pitch;
                ask_for(image, pitch, made + BLOCK, std::min(made + 2 * BLOCK, rows.end));
                along_rows(source, slot(made));
            }
            for (int k = 0; k < rows.count[y]; ++k) sources[k] = slot(rows.first[y] + k);
            down_columns(y, static_cast<int>(size), lines.line(y));
            lines.made(y);
        }
    }

    template <class Lines> void columns_first(const uint8_t* image, size_t pitch, Lines& lines) {
        const int length = 3 * (columns.end - columns.begin);
        between.resize(static_cast<size_t>(length + LANES) * BLOCK);
        for (int top = 0; top < rows.wanted.length; top += BLOCK) {
            const int bottom = std::min(top + BLOCK, rows.wanted.length);
            const uint8_t* source[BLOCK];
            if (bottom < rows.wanted.length) {
                const int after = std::min(bottom + BLOCK, rows.wanted.length) - 1;
                ask_for(image, pitch, rows.first[bottom], rows.first[after] + rows.count[after]);
            }
            for (int y = top; y < bottom; ++y) {
                for (int k = 0; k < rows.count[y]; ++k) sources[k] = image + (rows.first[y] + k) * pitch;
                down_columns(y, length, &between[static_cast<size_t>(length + LANES) * (y - top)]);
            }
            for (int r = 0; r < BLOCK; ++r) source[r] = &between[static_cast<size_t>(length + LANES) * std::min(r, bottom - top - 1)];
            along_rows(source, lines.line(top));
            for (int y = top; y < bottom; ++y) lines.made(y);
        }
    }

    // `image`: where both axes begin; rows are `pitch` bytes apart. The result's row y, (3, stride) bytes, goes to lines.line(y): BLOCK of them
    // one after another where y is a multiple of BLOCK. Then lines.made(y) is called.
    template <class Lines> void run(const uint8_t* image, size_t pitch, const FixedAxis& down, const FixedAxis& across, Lines& lines) {
        rows.make(down);
        columns.make(across);
        stride = (across.length + BLOCK - 1) / BLOCK * BLOCK;
        strip.resize((static_cast<size_t>(3) * (columns.end - columns.begin) + BLOCK) * BLOCK);
        sources.resize(rows.span);
        image += static_cast<size_t>(3) * columns.begin;
        if (luss_columns_first(down.axis, across.axis))
            columns_first(image, pitch, lines);
        else
            rows_first(image, pitch, lines);
    }
};

} // namespace luss
