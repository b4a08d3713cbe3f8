/* Taps of Pillow's 8-bit bilinear resizing along one axis (Resample.c: precompute_coeffs, normalize_coeffs_8bpc): the triangle filter, its
   support grown with the scale, in double precision and in Pillow's order of operations, then whole numbers of 2^-22. The same bits on CPU and
   GPU. Plain C++ for g++ (-ffp-contract=off) and nvcc. */
#pragma once
#include "luss/exact.h"

constexpr int LUSS_FIXED_BITS = 22; /* 32 - 8 - 2: a level of 8 bits, a sum that may swing beyond both ends */

/* Of a row or a column of `extent` pixels, the part from `start` to `end` becomes `out` pixels. */
struct luss_axis {
    int32_t extent, out;
    float start, end; /* 0 <= start < end <= extent; Pillow has them in single precision, too */
    double scale, support, inverse;
};

LUSS_BOTH luss_axis luss_part_axis(int32_t extent, int32_t out, float start, float end) {
    luss_axis axis;
    axis.extent = extent, axis.out = out, axis.start = start, axis.end = end;
    axis.scale = luss_div(static_cast<double>(luss_add(end, -start)), static_cast<double>(out));
    axis.support = axis.scale < 1.0 ? 1.0 : axis.scale;
    axis.inverse = luss_div(1.0, axis.support);
    return axis;
}

/* The axis of a box from `start` on, `length` long, of an image of `size` pixels: those it touches, counted from the first one, `low`.
   That is Pillow's image.crop(the touched pixels).resize(.., box=the box). A touch of less than 1/1024 of a pixel (or of half the box) is taken
   for the rounding of a fraction. */
LUSS_BOTH luss_axis luss_box_axis(float start, float length, int32_t out, int32_t size, int32_t& low) {
    const double left = start, right = luss_add(left, static_cast<double>(length));
    const double half = luss_mul(0.5, static_cast<double>(length)), slack = half < 1.0 / 1024 ? half : 1.0 / 1024;
    const double last = luss_add(right, -slack);
    low = static_cast<int32_t>(luss_add(left, slack));
    low = low < size - 1 ? low : size - 1;
    int32_t high = static_cast<int32_t>(last);
    high += static_cast<double>(high) < last;
    high = high > low ? high : low + 1;
    high = high < size ? high : size;
    const double from = luss_add(left, -static_cast<double>(low)), to = luss_add(right, -static_cast<double>(low)), extent = high - low;
    return luss_part_axis(high - low, out, static_cast<float>(from > 0 ? from : 0.0), static_cast<float>(to < extent ? to : extent));
}

LUSS_BOTH double luss_centre(const luss_axis& axis, int i) {
    return luss_add(static_cast<double>(axis.start), luss_mul(luss_add(static_cast<double>(i), 0.5), axis.scale));
}

/* Pixels first <= x < last that result pixel i is made of; at least one. */
LUSS_BOTH void luss_tap_range(const luss_axis& axis, int i, int32_t& first, int32_t& last) {
    const double centre = luss_centre(axis, i);
    first = static_cast<int32_t>(luss_add(luss_add(centre, -axis.support), 0.5));
    last = static_cast<int32_t>(luss_add(luss_add(centre, axis.support), 0.5));
    first = first > 0 ? first : 0;
    last = last < axis.extent ? last : axis.extent;
}

/* Weight of pixel x where the result's centre is `centre`, not yet divided by their sum. */
LUSS_BOTH double luss_tap_weight(const luss_axis& axis, double centre, int x) {
    const double at = luss_mul(luss_add(luss_add(static_cast<double>(x), -centre), 0.5), axis.inverse), away = at < 0 ? -at : at;
    return away < 1.0 ? luss_add(1.0, -away) : 0.0;
}

LUSS_BOTH int32_t luss_fixed_weight(double weight, double sum) {
    return static_cast<int32_t>(luss_add(0.5, luss_mul(luss_div(weight, sum), static_cast<double>(1 << LUSS_FIXED_BITS))));
}

/* Which pass comes first decides which result is rounded twice. Pillow goes along the rows first; from version 13 on it goes down the columns
   first where the height shrinks by more than twice as many pixels as the width (Resample.c: horizontal_first). */
LUSS_BOTH bool luss_columns_first(const luss_axis& down, const luss_axis& across) {
    const int64_t shorter = static_cast<int64_t>(down.extent) - down.out, narrower = static_cast<int64_t>(across.extent) - across.out;
    return shorter > 0 && shorter > 2 * narrower;
}
