/* Bilinear enlargement along one axis (pixel centres, align_corners false; one step, or two through a middle size) as runs of pixels whose
   weights form an arithmetic progression: inside a source cell a value is start + j * step at pixel j, so exp of it is a geometric progression,
   and pixels beyond the outermost centres are all alike and count as copies of one. Plain C++ for the host: the CPU path and the caller of
   the CUDA path build one table for rows and one for columns. Weights are exact rationals rounded once to double, then to float.
   7 -> 112: two borders of 8 copies and six cells of 16 pixels, 8 runs and 98 distinct pixels. */
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

/* Distinct pixel j of the run, 0 <= j < pixels, stands for outputs first + j * copies ... + copies - 1 (copies > 1 only where pixels == 1) and is
   sum over t < 3 of (start[t] + j * step[t]) * source[tap + t]; weights beyond the source are 0. */
struct luss_run {
    int32_t tap, pixels, first, copies;
    float start[3], step[3];
};

namespace luss {

constexpr int RUN_PIXELS = 16; // of a run at most, and copies of one pixel at most

struct axis_taps {
    int tap;
    double weight[3];
};

/* Output i of `target`, on `source` samples: the two neighbours. */
inline axis_taps axis_step(int64_t i, int64_t source, int64_t target) {
    int64_t position = (2 * i + 1) * source - target; // over 2 target
    if (position < 0) position = 0;
    int64_t low = position / (2 * target);
    double fraction = static_cast<double>(position % (2 * target)) / static_cast<double>(2 * target);
    if (low >= source - 1) low = source - 1, fraction = 0;
    return {static_cast<int>(low), {1 - fraction, fraction, 0}};
}

/* Taps of output i over `source`, moved so that all `taps` of them lie inside it where it is that long. middle == 0: one step. */
inline axis_taps axis_weights(int64_t i, int source, int middle, int target, int taps) {
    axis_taps found = axis_step(i, middle ? middle : source, target);
    if (middle) {
        const axis_taps low = axis_step(found.tap, source, middle);
        const axis_taps high = axis_step(found.tap + 1 < middle ? found.tap + 1 : found.tap, source, middle);
        axis_taps both = {low.tap, {0, 0, 0}};
        for (int t = 0; t < 2; ++t) {
            both.weight[t] += found.weight[0] * low.weight[t];
            if (high.weight[t] != 0) both.weight[high.tap - low.tap + t] += found.weight[1] * high.weight[t]; // middle >= source: at most 2
        }
        found = both;
    }
    const int last = source > taps ? source - taps : 0, moved = found.tap > last ? found.tap - last : 0;
    axis_taps result = {found.tap - moved, {0, 0, 0}};
    for (int t = 0; t + moved < 3; ++t) result.weight[t + moved] = found.weight[t];
    return result;
}

/* Runs of at most `longest` <= RUN_PIXELS pixels, in order; their taps never go back. source, target >= 1; middle 0 or >= source. */
inline std::vector<luss_run> axis_runs(int source, int middle, int target, int longest) {
    std::vector<luss_run> runs;
    const int taps = middle ? 3 : 2;
    const auto alike = [](const axis_taps& a, const axis_taps& b, const double* step, int times) { // b = a + times * step, up to double's rounding
        bool same = a.tap == b.tap;
        for (int t = 0; t < 3; ++t) same &= std::fabs(a.weight[t] + times * step[t] - b.weight[t]) < 1e-12;
        return same;
    };
    for (int i = 0; i < target;) {
        const axis_taps begin = axis_weights(i, source, middle, target, taps);
        double step[3] = {0, 0, 0};
        int count = 1, copies = 1;
        while (copies < RUN_PIXELS && i + copies < target && alike(begin, axis_weights(i + copies, source, middle, target, taps), step, 1)) ++copies;
        if (copies == 1 && i + 1 < target) {
            const axis_taps next = axis_weights(i + 1, source, middle, target, taps);
            for (int t = 0; t < 3; ++t) step[t] = next.weight[t] - begin.weight[t];
            while (count < longest && i + count < target && alike(begin, axis_weights(i + count, source, middle, target, taps), step, count)) ++count;
        }
        luss_run run = {begin.tap, count, i, copies, {}, {}};
        for (int t = 0; t < 3; ++t) {
            run.start[t] = static_cast<float>(begin.weight[t]);
            run.step[t] = count > 1 ? static_cast<float>(step[t]) : 0;
        }
        runs.push_back(run);
        i += count * copies;
    }
    return runs;
}

/* Where the tap changes: windows[i] is the first run of window i, one more ends the last. */
inline std::vector<int32_t> axis_windows(const std::vector<luss_run>& runs) {
    std::vector<int32_t> windows;
    for (size_t i = 0; i < runs.size(); ++i)
        if (i == 0 || runs[i].tap != runs[i - 1].tap) windows.push_back(static_cast<int32_t>(i));
    windows.push_back(static_cast<int32_t>(runs.size()));
    return windows;
}

} // namespace luss
