/* CPU path of engine.ops.centroid_sums: one row after another, added to its label's sums in float64. Threads take strips of columns, so that every
   column is added up in order of the rows, whatever their number. Memory is read in order, and the sums that come next are fetched ahead.

   Tried before: rows sorted by label first, so that one label's sums stay in registers or L1: half as fast at 128 columns and 0.6 to 0.9 of this at
   512 and 2048, as memory is then read in random order. Strips of 128 columns, so that all sums stay in L2: a third as fast from 512 columns on. */
#include <algorithm>

#include "cpu/wide_lanes.h"

namespace luss {
namespace {

constexpr int AHEAD = 1024; // numbers of rows that are fetched before their turn
// sums[label[i]][0..width) += x[i][0..width) for all i; both have rows of d numbers.
template <class T> void add_strip(const T* x, const int32_t* label, int64_t n, int d, int width, double* sums) {
    const int64_t ahead = std::max(1, AHEAD / d);
    for (int64_t i = 0; i < n; ++i) {
        const int64_t later = std::min(i + ahead, n - 1);
        const T *row = x + i * d, *next_row = x + later * d;
        double *to = sums + static_cast<int64_t>(label[i]) * d, *next_to = sums + static_cast<int64_t>(label[later]) * d;
        int p = 0;
        for (; p + LANES <= width; p += LANES) {
            __builtin_prefetch(next_row + p);
            __builtin_prefetch(next_to + p, 1);
            __builtin_prefetch(next_to + p + WIDE, 1);
            store(to + p, load<wide>(to + p) + wide_at(row + p));
            store(to + p + WIDE, load<wide>(to + p + WIDE) + wide_at(row + p + WIDE));
        }
        for (; p < width; ++p) to[p] += number(row[p]);
    }
}

template <class T> void run(const T* x, const int32_t* label, int64_t n, int d, int k, double* sums, int64_t* counts, int threads) {
    std::fill(counts, counts + k, 0);
    for (int64_t i = 0; i < n; ++i) ++counts[label[i]];
    const int lines = (d + 15) / 16, strips = std::min(lines, threads);
    const auto column = [&](int strip) { return std::min(d, 16 * static_cast<int>(static_cast<int64_t>(lines) * strip / strips)); };
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int s = 0; s < strips; ++s) {
        const int first = column(s), width = column(s + 1) - first;
        for (int j = 0; j < k; ++j) std::fill_n(sums + static_cast<int64_t>(j) * d + first, width, 0.0);
        add_strip(x + first, label, n, d, width, sums + first);
    }
}

} // namespace
} // namespace luss

// All arguments were checked by the caller: labels are in [0, k).
extern "C" void luss_centroid_sums_cpu(const void* x, int x_half, const int32_t* label, int64_t n, int d, int k, double* sums, int64_t* counts,
                                       int threads) {
    if (x_half)
        luss::run(static_cast<const uint16_t*>(x), label, n, d, k, sums, counts, threads);
    else
        luss::run(static_cast<const float*>(x), label, n, d, k, sums, counts, threads);
}
