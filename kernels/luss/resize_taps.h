/* Taps of antialiased bilinear resizing along one axis of a crop (Pillow's triangle filter: its support grows with the box).
   Positions are counted from axis.low, the first pixel that may be touched, with 32 bits below the pixel: whole numbers are the same
   everywhere, and cards for games are slow at double precision. Plain C++ for g++ and nvcc. */
#pragma once
#include "luss/exact.h"

struct luss_axis {
    int64_t start, scale, support; // of the box; box pixels a result pixel; reach of the filter: pixels of 2^-32
    float unit;                    // 1 / support
    int low, high;                 // pixels of the image that may be touched: low <= x < high
};

/* A box from `start` on, `length` long, of an image `extent` long, becomes `out` pixels. Taps end at the pixels that the box touches,
   or with `bleed` at the image. A touch of less than 1/1024 of a pixel is taken for the rounding of a fraction. */
LUSS_BOTH luss_axis luss_make_axis(float start, float length, int out, int extent, int bleed) {
    const float whole = 4294967296.0f; // a pixel
    luss_axis axis;
    axis.low = 0;
    axis.high = extent;
    if (!bleed) {
        const float first = start + 1.0f / 1024, last = start + length - 1.0f / 1024;
        axis.low = static_cast<int>(first);
        axis.high = static_cast<int>(last) + (last > static_cast<float>(static_cast<int>(last)));
        axis.low = axis.low < extent - 1 ? axis.low : extent - 1;
        axis.high = axis.high < extent ? axis.high : extent;
        axis.high = axis.high > axis.low ? axis.high : axis.low + 1;
    }
    axis.start = static_cast<int64_t>(start * whole) - (static_cast<int64_t>(axis.low) << 32);
    axis.scale = (static_cast<int64_t>(length * whole) + out / 2) / out;
    axis.support = axis.scale > (int64_t{1} << 32) ? axis.scale : int64_t{1} << 32;
    axis.unit = luss_div(1.0f, static_cast<float>(axis.support));
    return axis;
}

LUSS_BOTH int64_t luss_centre(const luss_axis& axis, int i) { return axis.start + axis.scale * i + axis.scale / 2; }

/* Taps of result pixel i: first <= x < last; at least one. */
LUSS_BOTH void luss_tap_range(const luss_axis& axis, int i, int& first, int& last) {
    const int64_t centre = luss_centre(axis, i), half = int64_t{1} << 31;
    const int extent = axis.high - axis.low;
    first = static_cast<int>((centre - axis.support + half) >> 32);
    last = static_cast<int>((centre + axis.support + half) >> 32);
    first = first < 0 ? 0 : first > extent - 1 ? extent - 1 : first;
    last = last > extent ? extent : last;
    last = last > first ? last : first + 1;
}

/* Weight of pixel x for result pixel i, not yet divided by their sum. */
LUSS_BOTH float luss_weight(const luss_axis& axis, int i, int x) {
    const int64_t distance = (static_cast<int64_t>(x) << 32) + (int64_t{1} << 31) - luss_centre(axis, i);
    const float weight = luss_add(1.0f, -luss_mul(static_cast<float>(distance < 0 ? -distance : distance), axis.unit));
    return weight > 0 ? weight : 0.0f;
}

/* What the weights of result pixel i, taps first <= x < last, are divided by. */
LUSS_BOTH float luss_weight_sum(const luss_axis& axis, int i, int first, int last) {
    float sum = 0;
    for (int x = first; x < last; ++x) sum = luss_add(sum, luss_weight(axis, i, x));
    return sum;
}
