/* CPU path of engine.ops.fixed_sums: rows whose label changed leave the sums of the one cluster and join those of the other, as 64-bit whole
   numbers, whose sums are the same in any order. Work is cut into sets of labels and, where these are fewer than the threads need, strips of
   columns: no two threads write the same sums. One set after the other, so that a set's sums stay in cache while rows stream past; the rows
   and sums whose turn comes next are fetched ahead. A row that moves is converted once. */
#include <algorithm>

#include "cpu/fixed_lanes.h"

namespace luss {
namespace {

constexpr int AHEAD = 1024; // numbers of rows that are fetched before their turn
constexpr int BATCH = 1024; // rows that are searched for changes at once

struct task {
    const void* x;
    const int32_t *before, *after; // before: nullptr for -1 everywhere
    int64_t n;
    int d, k, sets;
    float scale; // 2^bits
    uint64_t* sums;
    int64_t *counts, *moved; // moved: may be nullptr
};

struct move {
    int64_t row;
    int32_t from, to; // -1: none
};

// Those of rows first..first + count whose label changed, in order; returns how many.
inline int find_moves(const task& given, const int32_t* before, const int32_t* after, int64_t first, int count, move* found) {
    const auto known = [&](int32_t label) { return label >= 0 && label < given.k ? label : -1; };
    int have = 0;
    const auto look = [&](int i) {
        const int32_t from = before ? before[first + i] : -1, to = after[first + i];
        if (from != to) found[have++] = {first + i, known(from), known(to)};
    };
    int i = 0;
#if defined(__AVX512BW__)
    for (; i + 16 <= count; i += 16) {
        const __m512i from = before ? _mm512_loadu_si512(before + first + i) : _mm512_set1_epi32(-1);
        for (unsigned changed = _mm512_cmpneq_epi32_mask(from, _mm512_loadu_si512(after + first + i)); changed; changed &= changed - 1)
            look(i + __builtin_ctz(changed));
    }
#endif
    for (; i < count; ++i) look(i);
    return have;
}

// The width columns from column `first` of one row; next: the row that is fetched meanwhile.
template <bool FROM, bool TO, class T> void move_row(const task& given, uint64_t* sums, const move& now, const move& next, int first, int width) {
    const T* x = static_cast<const T*>(given.x) + first;
    const T *row = x + now.row * given.d, *next_row = x + next.row * given.d;
    const auto at = [&](int32_t label) { return sums + static_cast<int64_t>(std::max(label, 0)) * given.d + first; };
    uint64_t *from = at(now.from), *to = at(now.to), *next_from = at(next.from), *next_to = at(next.to);
    constexpr int LINE = 64 / sizeof(uint64_t);
    int p = 0;
    for (; p + LINE <= width; p += LINE) {
        if (p % (64 / static_cast<int>(sizeof(T))) == 0) __builtin_prefetch(next_row + p);
        if (FROM) __builtin_prefetch(next_from + p, 1); // a guess: what this row does, the next does
        if (TO) __builtin_prefetch(next_to + p, 1);
#pragma GCC unroll 2
        for (int i = p; i < p + LINE; i += FIXED_LANES) {
            const vfixed value = fixed_at(row + i, given.scale);
            if (FROM) store(from + i, load<vfixed>(from + i) - value);
            if (TO) store(to + i, load<vfixed>(to + i) + value);
        }
    }
    for (; p < width; ++p) {
        const uint64_t value = fixed(number(row[p]), given.scale);
        if (FROM) from[p] -= value;
        if (TO) to[p] += value;
    }
}

// One set of labels, the width columns from column `first`; counts and moved come with column 0.
template <class T> void move_strip(const task& given, int set, int first, int width) {
    const int32_t* before = given.before ? given.before + set * given.n : nullptr;
    const int32_t* after = given.after + set * given.n;
    uint64_t* sums = given.sums + static_cast<int64_t>(set) * given.k * given.d;
    int64_t* counts = given.counts + static_cast<int64_t>(set) * given.k;
    const int ahead = std::max(1, AHEAD / given.d);
    int64_t total = 0;
    move found[BATCH];
    for (int64_t start = 0; start < given.n; start += BATCH) {
        const int have = find_moves(given, before, after, start, static_cast<int>(std::min<int64_t>(BATCH, given.n - start)), found);
        total += have;
        for (int m = 0; m < have; ++m) {
            const move &now = found[m], &next = found[std::min(m + ahead, have - 1)];
            if (now.from >= 0 && now.to >= 0) move_row<true, true, T>(given, sums, now, next, first, width);
            else if (now.to >= 0) move_row<false, true, T>(given, sums, now, next, first, width);
            else if (now.from >= 0) move_row<true, false, T>(given, sums, now, next, first, width);
            if (first == 0 && now.from >= 0) --counts[now.from];
            if (first == 0 && now.to >= 0) ++counts[now.to];
        }
    }
    if (first == 0 && given.moved) given.moved[set] = total;
}

template <class T> void run(const task& given, int threads) {
    const int lines = (given.d + 15) / 16; // of 16 columns: 64 bytes of a row, 128 of sums
    const int strips = given.sets % threads == 0 || given.sets >= 4 * threads ? 1 : std::min(lines, threads);
    const auto column = [&](int strip) { return std::min(given.d, 16 * static_cast<int>(static_cast<int64_t>(lines) * strip / strips)); };
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int piece = 0; piece < given.sets * strips; ++piece) {
        const int strip = piece % strips, first = column(strip);
        move_strip<T>(given, piece / strips, first, column(strip + 1) - first);
    }
}

} // namespace
} // namespace luss

// Shapes were checked by the caller; labels outside 0..k - 1 stand for no cluster. sums (sets, k, d) and counts (sets, k) are added to.
extern "C" void luss_move_rows_cpu(const void* x, int x_half, const int32_t* before, const int32_t* after, int64_t n, int d, int k, int sets,
                                   int bits, int64_t* sums, int64_t* counts, int64_t* moved, int threads) {
    const luss::task given = {x, before, after, n, d, k, sets, std::ldexp(1.0f, bits), reinterpret_cast<uint64_t*>(sums), counts, moved};
    if (x_half)
        luss::run<uint16_t>(given, threads);
    else
        luss::run<float>(given, threads);
}
