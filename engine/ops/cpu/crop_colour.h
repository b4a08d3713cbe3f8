// Colour jitter and grey with Pillow's 8-bit arithmetic, to the bit. Values stay in float registers from one step to the next, always whole
// numbers in 0..255; the picture is walked twice only because contrast needs the mean of what is before it. No branch depends on a pixel.
// Compile without contraction of a * b + c: a fused step would round differently from Pillow.
#pragma once
#include "crop_resize.h"

namespace luss {

struct Pixel {
    vf r, g, b;
};

inline vf luma(const Pixel& p) { // every sum is below 2^24, so exact
    return whole((19595.0f * p.r + 38470.0f * p.g + 7471.0f * p.b + 32768.0f) * (1.0f / 65536));
}

// Image.blend: clipped, then truncated; between the two nothing needs clipping
template <bool BEYOND> inline vf blend(vf from, vf to, float factor) {
    const vf mixed = from + factor * (to - from);
    return whole(BEYOND ? least(most(mixed, vf{}), every(255.0f)) : mixed);
}

inline void blend(vf from, Pixel& p, float factor) {
    if (factor > 1) {
        p = {blend<true>(from, p.r, factor), blend<true>(from, p.g, factor), blend<true>(from, p.b, factor)};
    } else {
        p = {blend<false>(from, p.r, factor), blend<false>(from, p.g, factor), blend<false>(from, p.b, factor)};
    }
}

// RGB -> HSV -> add to H modulo 256 -> RGB. Pillow computes partly in double; these float formulas give its bytes for all colours
// (the test goes through all of them).
inline void turn_hue(Pixel& p, float shift) {
    const vf high = most(most(p.r, p.g), p.b), low = least(least(p.r, p.g), p.b), range = high - low;
    const vf middle = p.r + p.g + p.b - high - low;
    const vf share = (high - middle) / most(range, every(1.0f));
    const vi red = p.r == high, green = p.g == high;
    // h = base +- share, by which channel is largest and which smallest
    const vi up = red ? p.g == low : green ? p.b == low : p.r == low;
    const vf base = red ? (up ? every(-1.0f) : every(1.0f)) : green ? (up ? every(1.0f) : every(3.0f)) : (up ? every(3.0f) : every(5.0f));
    vf turn = (base + (up ? share : -share)) / 6.0f;
    turn = turn < 0.0f ? turn + 1.0f : turn;
    vf hue = whole(turn * 255.0f) + shift;
    hue = hue >= 256.0f ? hue - 256.0f : hue;
    const vf saturation = whole(255.0f * range / most(high, every(1.0f)));

    vf sector = whole(hue * (6.0f / 255) + 0.001f); // floor(6 h / 255), 0..6
    const vf rest = 6.0f * hue - 255.0f * sector;
    sector = sector == 6.0f ? vf{} : sector;
    const vi odd = (truncated(sector) & 1) != 0;
    const vf slope = odd ? rest : 255.0f - rest;
    const vf v = high, least_value = whole(v * (255.0f - saturation) * (1.0f / 255) + 0.5f);
    const vf between = whole(v * (65025.0f - saturation * slope) * (1.0f / 65025) + 0.5f);
    // the channel whose sector centre is 0.5 away has v, 1.5 away the value between, farther the least
    const auto choose = [&](float centre) {
        const vf d = sector - centre, away = d < 0.0f ? -d : d;
        return away < 1.0f ? v : away < 2.0f ? between : least_value;
    };
    p.g = choose(1.5f);
    p.b = choose(3.5f);
    const vf d = sector - 2.5f, away = d < 0.0f ? -d : d; // red lies round the end of the circle: farthest from its opposite
    p.r = away > 2.0f ? v : away > 1.0f ? between : least_value;
}

struct Colour {
    const luss_crop& crop;
    float mean = 0, shift;

    explicit Colour(const luss_crop& c) : crop(c), shift(static_cast<float>(luss_hue_shift(c.hue))) {}

    void step(int which, Pixel& p) const {
        if (which == LUSS_BRIGHTNESS) blend(vf{}, p, crop.brightness);
        if (which == LUSS_CONTRAST) blend(every(mean), p, crop.contrast);
        if (which == LUSS_SATURATION) blend(luma(p), p, crop.saturation);
        if (which == LUSS_HUE) turn_hue(p, shift);
    }

    // Steps [from, to) of `steps` on every pixel; returns the sum of the luma after them where `summing`.
    int64_t walk(Planes& planes, int steps, int from, int to, bool summing, bool grey) const {
        uint8_t *r = planes.plane(0), *g = planes.plane(1), *b = planes.plane(2);
        vi sums = {};
        int64_t total = 0;
        for (int y = 0; y < planes.height; ++y) {
            for (int x = 0; x < planes.width; x += LANES) {
                const size_t at = static_cast<size_t>(y) * planes.stride + x;
                Pixel p = {floats(load<vb>(r + at)), floats(load<vb>(g + at)), floats(load<vb>(b + at))};
                for (int i = from; i < to; ++i) step(steps >> 4 * i & 15, p);
                if (summing) sums += lane_numbers() < planes.width - x ? truncated(luma(p)) : vi{};
                if (grey) p.r = luma(p);
                store(r + at, bytes(p.r));
                if (grey) continue; // one plane stands for all three
                store(g + at, bytes(p.g));
                store(b + at, bytes(p.b));
            }
            for (int i = 0; i < LANES; ++i) total += sums[i];
            sums = vi{};
        }
        return total;
    }

    // Jitter, then grey. With crop.grey only plane 0 holds the result.
    void run(Planes& planes) {
        if (crop.order < 0) {
            if (crop.grey) walk(planes, 0, 0, 0, false, true);
            return;
        }
        const int steps = luss_steps(crop.order);
        int contrast = 0;
        while ((steps >> 4 * contrast & 15) != LUSS_CONTRAST) ++contrast;
        const double total = static_cast<double>(walk(planes, steps, 0, contrast, true, false));
        mean = static_cast<float>(static_cast<int>(total / (static_cast<double>(planes.height) * planes.width) + 0.5));
        walk(planes, steps, contrast, 4, false, crop.grey);
    }
};

} // namespace luss
