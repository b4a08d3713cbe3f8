// Colour jitter and grey over the planes of a crop; the arithmetic is luss/pixel_colour.h's. Values stay in registers from one step to the
// next; the picture is walked twice only because contrast needs the mean of what is before it. No branch depends on a pixel.
#pragma once
#include "lanes.h"
#include "luss/pixel_colour.h"
#include "planes.h"

namespace luss {

struct Colour {
    const luss_crop& crop;
    float mean = 0, shift;

    explicit Colour(const luss_crop& c) : crop(c), shift(static_cast<float>(luss_hue_shift(c.hue))) {}

    // Steps [from, to) of `steps` on every pixel; returns the sum of the luma after them where `summing`.
    uint64_t walk(Planes& planes, int steps, int from, int to, bool summing, bool grey) const {
        uint64_t total = 0;
        for (int y = 0; y < planes.height; ++y) {
            uint8_t *const r = planes.line(y), *const g = r + planes.stride, *const b = g + planes.stride;
            vi sums = {};
            for (int x = 0; x < planes.width; x += LANES) {
                pixel<vf> p = {floats(load<vb>(r + x)), floats(load<vb>(g + x)), floats(load<vb>(b + x))};
                for (int i = from; i < to; ++i) colour_step(steps >> 4 * i & 15, p, crop, mean, shift);
                if (summing) sums += lane_numbers() < planes.width - x ? truncated(luma(p)) : vi{};
                if (grey) p.r = luma(p);
                store(r + x, bytes(p.r));
                if (grey) continue; // one channel stands for all three
                store(g + x, bytes(p.g));
                store(b + x, bytes(p.b));
            }
            for (int i = 0; i < LANES; ++i) total += static_cast<uint64_t>(sums[i]);
        }
        return total;
    }

    // Jitter, then grey. With crop.grey only the first channel holds the result.
    void run(Planes& planes) {
        if (crop.order < 0) {
            if (crop.grey) walk(planes, 0, 0, 0, false, true);
            return;
        }
        const int steps = luss_steps(crop.order), before = steps_before_contrast(steps);
        mean = contrast_mean(walk(planes, steps, 0, before, true, false), static_cast<uint64_t>(planes.height) * planes.width);
        walk(planes, steps, before, 4, false, crop.grey);
    }
};

} // namespace luss
