// The taps of luss/fixed_taps.h for all wanted pixels of an axis.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "luss/fixed_taps.h"

namespace luss {

// Of the result's pixels `length` from `begin` on are wanted; mirrored: counted from its end.
struct FixedAxis {
    luss_axis axis = {};
    int begin = 0, length = 0;
    bool mirrored = false;

    bool operator==(const FixedAxis& o) const {
        return axis.extent == o.axis.extent && axis.out == o.axis.out && axis.start == o.axis.start && axis.end == o.axis.end && begin == o.begin &&
               length == o.length && mirrored == o.mirrored;
    }

    int pixel(int i) const { return mirrored ? axis.out - 1 - begin - i : begin + i; }

    // Pixels first <= x < last that wanted pixel i is made of; at least one.
    void range(int i, int& first, int& last) const { luss_tap_range(axis, pixel(i), first, last); }

    // Their weights; `room` holds as many doubles.
    void weights(int i, int first, int last, double* room, int32_t* weights) const {
        const double centre = luss_centre(axis, pixel(i));
        double sum = 0;
        for (int x = first; x < last; ++x) sum += room[x - first] = luss_tap_weight(axis, centre, x);
        for (int k = 0; k < last - first; ++k) weights[k] = luss_fixed_weight(room[k], sum);
    }
};

// The taps of one axis; kept while the axis stays the same, as it does for images of one size.
struct FixedTaps {
    FixedAxis wanted;
    int stride = 0;                // room for weights a pixel
    int begin = 0, end = 0;        // pixels that any of them touches
    int span = 0;                  // most pixels from the first one that a pixel touches to the last one that it or one before it touches
    std::vector<int> first, count; // zero weights at the ends are left out
    std::vector<int32_t> numbers;
    std::vector<double> room;

    void make(const FixedAxis& axis) {
        if (axis == wanted) return;
        wanted = FixedAxis(); // stays so where memory runs out
        first.resize(axis.length), count.resize(axis.length);
        stride = static_cast<int>(std::min(2.0 * std::ceil(axis.axis.support) + 1, static_cast<double>(axis.axis.extent)));
        numbers.resize(static_cast<size_t>(axis.length) * stride);
        room.resize(stride);
        begin = axis.axis.extent, end = 0, span = 0;
        for (int i = 0; i < axis.length; ++i) {
            int last;
            int32_t* w = weights(i);
            axis.range(i, first[i], last);
            count[i] = last - first[i];
            axis.weights(i, first[i], last, room.data(), w);
            while (count[i] > 1 && w[count[i] - 1] == 0) --count[i];
            while (count[i] > 1 && w[0] == 0) std::copy(w + 1, w + count[i], w), ++first[i], --count[i];
            begin = std::min(begin, first[i]), end = std::max(end, first[i] + count[i]);
            span = std::max(span, end - first[i]);
        }
        wanted = axis;
    }
    int32_t* weights(int i) { return numbers.data() + static_cast<size_t>(i) * stride; }
};

} // namespace luss
