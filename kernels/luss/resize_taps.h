/* Taps of antialiased bilinear resizing along one axis of a crop (Pillow's triangle filter: its support grows with the box).
   Positions are pixels from axis.low on, the first pixel that may be touched. Plain C++ for g++ and nvcc. */
#pragma once
#include "luss/exact.h"

struct luss_axis {
    double start, scale; // of the box, from `low` on; box pixels a result pixel
    float support, inverse;
    int low, high; // pixels of the image that may be touched: low <= x < high
};

/* A box from `start` on, `length` long, of an image `extent` long, becomes `out` pixels. Taps end at the pixels that the box touches,
   or with `bleed` at the image. A touch of less than 1/1024 of a pixel is taken for the rounding of a fraction. */
LUSS_BOTH luss_axis luss_make_axis(float start, float length, int out, int extent, int bleed) {
    luss_axis axis;
    const double end = static_cast<double>(start) + static_cast<double>(length);
    axis.low = 0;
    axis.high = extent;
    if (!bleed) {
        const double first = start + 1.0 / 1024, last = end - 1.0 / 1024;
        axis.low = static_cast<int>(first);
        axis.high = static_cast<int>(last) + (last > static_cast<int>(last));
        axis.low = axis.low < extent - 1 ? axis.low : extent - 1;
        axis.high = axis.high < extent ? axis.high : extent;
        axis.high = axis.high > axis.low ? axis.high : axis.low + 1;
    }
    axis.start = static_cast<double>(start) - axis.low;
    axis.scale = luss_div(static_cast<double>(length), static_cast<double>(out));
    axis.support = axis.scale > 1 ? static_cast<float>(axis.scale) : 1.0f;
    axis.inverse = luss_div(1.0f, axis.support);
    return axis;
}

LUSS_BOTH double luss_centre(const luss_axis& axis, int i) { return luss_add(axis.start, luss_mul(i + 0.5, axis.scale)); }

/* Taps of result pixel i: first <= x < last; at least one. */
LUSS_BOTH void luss_tap_range(const luss_axis& axis, int i, int& first, int& last) {
    const double centre = luss_centre(axis, i);
    first = static_cast<int>(centre - axis.support + 0.5);
    last = static_cast<int>(centre + axis.support + 0.5);
    const int extent = axis.high - axis.low;
    first = first < 0 ? 0 : first > extent - 1 ? extent - 1 : first;
    last = last > extent ? extent : last;
    last = last > first ? last : first + 1;
}

/* Weight of pixel x for result pixel i, not yet divided by their sum. */
LUSS_BOTH float luss_weight(const luss_axis& axis, int i, int x) {
    const float distance = luss_mul(static_cast<float>(x + 0.5 - luss_centre(axis, i)), axis.inverse);
    const float weight = luss_add(1.0f, distance < 0 ? distance : -distance);
    return weight > 0 ? weight : 0.0f;
}

/* What the weights of result pixel i, taps first <= x < last, are divided by. */
LUSS_BOTH double luss_weight_sum(const luss_axis& axis, int i, int first, int last) {
    double sum = 0;
    for (int x = first; x < last; ++x) sum = luss_add(sum, static_cast<double>(luss_weight(axis, i, x)));
    return sum;
}
