// Taps of Pillow's 8-bit resampling along one axis of a whole image: the triangle filter, computed in double precision in Pillow's order of
// operations, as whole numbers of 2^-22. Must be compiled without contraction: a fused a * b + c would round differently.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "luss/cut_table.h"

namespace luss {

constexpr int FIXED_BITS = LUSS_FIXED_BITS;

// `extent` pixels become `out`, of which `length` from `begin` on are wanted.
struct FixedAxis {
    int extent = 0, out = 0, begin = 0, length = 0;
    bool operator==(const FixedAxis& o) const { return extent == o.extent && out == o.out && begin == o.begin && length == o.length; }

    double scale() const { return static_cast<double>(extent) / out; }
    double support() const { return std::max(scale(), 1.0); }

    // Pixels first <= x < last that wanted pixel i is made of; at least one.
    void range(int i, int& first, int& last) const {
        const double centre = (begin + i + 0.5) * scale();
        first = std::max(static_cast<int>(centre - support() + 0.5), 0);
        last = std::min(static_cast<int>(centre + support() + 0.5), extent);
    }

    // Their weights; `room` holds as many doubles.
    void weights(int i, int first, int last, double* room, int32_t* weights) const {
        const double centre = (begin + i + 0.5) * scale(), inverse = 1.0 / support();
        double sum = 0;
        for (int x = first; x < last; ++x) {
            const double distance = std::fabs((x - centre + 0.5) * inverse);
            room[x - first] = distance < 1.0 ? 1.0 - distance : 0.0;
            sum += room[x - first];
        }
        for (int k = 0; k < last - first; ++k) weights[k] = static_cast<int32_t>(0.5 + room[k] / sum * (1 << FIXED_BITS));
    }
};

// Which pass comes first decides which result is rounded twice. Pillow went along the rows first, always; from version 13 on it goes down the
// columns first where the height shrinks by more than twice as many pixels as the width (found by experiment; tests/engine/ops holds us to it).
inline bool down_before_across(const FixedAxis& down, const FixedAxis& across) {
    return down.out < down.extent && static_cast<int64_t>(down.extent) - down.out > 2 * (static_cast<int64_t>(across.extent) - across.out);
}

// The taps of one axis; kept while the axis stays the same, as it does for images of one size.
struct FixedTaps {
    FixedAxis axis;
    int stride = 0;                // room for weights a pixel
    int begin = 0, end = 0;        // pixels that any of them touches
    int span = 0;                  // most pixels from the first one that a pixel touches to the last one that it or one before it touches
    std::vector<int> first, count; // zero weights at the ends are left out
    std::vector<int32_t> weights;
    std::vector<double> room;

    void make(const FixedAxis& wanted) {
        if (wanted == axis) return;
        axis = FixedAxis(); // stays so where memory runs out
        first.resize(wanted.length), count.resize(wanted.length);
        stride = static_cast<int>(std::min(2.0 * std::ceil(wanted.support()) + 1, static_cast<double>(wanted.extent)));
        weights.resize(static_cast<size_t>(wanted.length) * stride);
        room.resize(stride);
        begin = wanted.extent, end = 0, span = 0;
        for (int i = 0; i < wanted.length; ++i) {
            int last;
            int32_t* w = row(i);
            wanted.range(i, first[i], last);
            count[i] = last - first[i];
            wanted.weights(i, first[i], last, room.data(), w);
            while (count[i] > 1 && w[count[i] - 1] == 0) --count[i];
            while (count[i] > 1 && w[0] == 0) std::copy(w + 1, w + count[i], w), ++first[i], --count[i];
            begin = std::min(begin, first[i]), end = std::max(end, first[i] + count[i]);
            span = std::max(span, end - first[i]);
        }
        axis = wanted;
    }
    int32_t* row(int i) { return weights.data() + static_cast<size_t>(i) * stride; }
};

} // namespace luss
