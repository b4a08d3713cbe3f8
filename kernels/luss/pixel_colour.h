/* Colour jitter and grey of one pixel, or of a vector of them, in Pillow's 8-bit arithmetic, to the bit. Values are whole numbers 0..255
   in floats from step to step. T: luss::exact, or a vector type with the same operations, declared before this file is included.
   Plain C++ for g++ and nvcc. */
#pragma once
#include "luss/exact.h"

namespace luss {

template <class T> struct pixel {
    T r, g, b;
};

template <class T> LUSS_BOTH T luma(const pixel<T>& p) { // every sum is below 2^24, so exact
    return whole((19595.0f * p.r + 38470.0f * p.g + 7471.0f * p.b + 32768.0f) * (1.0f / 65536));
}

/* Image.blend: clipped, then truncated; a factor in 0..1 needs no clipping. */
template <class T> LUSS_BOTH T blended(T from, T to, float factor) {
    const T mixed = from + factor * (to - from);
    return factor > 1 ? whole(least(most(mixed, constant(0.0f, from)), constant(255.0f, from))) : whole(mixed);
}

template <class T> LUSS_BOTH void blend(T from, pixel<T>& p, float factor) {
    p.r = blended(from, p.r, factor);
    p.g = blended(from, p.g, factor);
    p.b = blended(from, p.b, factor);
}

/* The channel whose sector of the circle is `centre`: the largest value less than one sector away, the one between less than two. */
template <class T> LUSS_BOTH T by_sector(T sector, float centre, T near, T between, T far) {
    const T d = sector - centre, away = most(d, -d);
    return select(away < 1.0f, near, select(away < 2.0f, between, far));
}

/* RGB -> HSV -> add `shift` (0..255) to H modulo 256 -> RGB. Pillow computes partly in double; these float formulas give its bytes for
   all colours (tests/engine/ops/test_augment_crops.py goes through them). */
template <class T> LUSS_BOTH void turn_hue(pixel<T>& p, float shift) {
    const T one = constant(1.0f, p.r), zero = constant(0.0f, p.r);
    const T high = most(most(p.r, p.g), p.b), low = least(least(p.r, p.g), p.b), range = high - low;
    const T middle = p.r + p.g + p.b - high - low;
    const T share = (high - middle) / most(range, one);
    // six times the hue is base +- share, by which channel is largest and which smallest
    const auto red = p.r == high, green = p.g == high, r_low = p.r == low, g_low = p.g == low, b_low = p.b == low;
    const T if_red = select(g_low, share - 1.0f, 1.0f - share);
    const T if_green = select(b_low, share + 1.0f, 3.0f - share);
    const T if_blue = select(r_low, share + 3.0f, constant(5.0f, p.r) - share);
    T turn = select(red, if_red, select(green, if_green, if_blue)) / 6.0f;
    turn = select(turn < 0.0f, turn + 1.0f, turn);
    T hue = whole(turn * 255.0f) + shift;
    hue = select(hue < 256.0f, hue, hue - 256.0f);
    const T saturation = whole(255.0f * range / most(high, one));

    T sector = whole(hue * (6.0f / 255) + 0.001f); // floor(6 h / 255), 0..6
    const T rest = 6.0f * hue - 255.0f * sector;
    sector = select(sector < 6.0f, sector, zero);
    const T slope = select(sector - 2.0f * whole(sector * 0.5f) < 1.0f, 255.0f - rest, rest);
    const T far = whole(high * (255.0f - saturation) * (1.0f / 255) + 0.5f);
    const T between = whole(high * (65025.0f - saturation * slope) * (1.0f / 65025) + 0.5f);
    p.g = by_sector(sector, 1.5f, high, between, far);
    p.b = by_sector(sector, 3.5f, high, between, far);
    // red lies round the end of the circle: it is largest in the sectors 0 and 5, farthest from 2.5
    const T d = sector - 2.5f, away = most(d, -d);
    p.r = select(away < 1.0f, far, select(away < 2.0f, between, high));
}

/* One of the four steps of luss_step; `mean` is contrast's grey, `shift` hue's addend. */
template <class T> LUSS_BOTH void colour_step(int step, pixel<T>& p, const luss_crop& crop, float mean, float shift) {
    if (step == LUSS_BRIGHTNESS) blend(constant(0.0f, p.r), p, crop.brightness);
    if (step == LUSS_CONTRAST) blend(constant(mean, p.r), p, crop.contrast);
    if (step == LUSS_SATURATION) blend(luma(p), p, crop.saturation);
    if (step == LUSS_HUE) turn_hue(p, shift);
}

/* How many steps come before contrast, which needs the mean of their result. */
LUSS_BOTH int steps_before_contrast(int steps) {
    int at = 0;
    while ((steps >> 4 * at & 15) != LUSS_CONTRAST) ++at;
    return at;
}

/* Contrast's grey: the mean luma of `count` pixels, halves up. */
LUSS_BOTH float contrast_mean(unsigned long long sum, unsigned long long count) { return static_cast<float>((2 * sum + count) / (2 * count)); }

} // namespace luss
