/* Bilinear enlargement by four, pixel centres (align_corners false), edges repeated, four neighbours of an output row at a time.
   Output 4 q + r lies between q - 1 and q (r = 0, 1) or q and q + 1 (r = 2, 3), weights in eighths; no tap has weight 0.
   Plain C++ for g++ and nvcc. */
#pragma once
#include <cstdint>

#include "luss/crop_table.h"

namespace luss {

struct quad {
    float v[4];
};

/* Where the six taps of a quad lie in a plane (h, w), and how far down it is between its two rows. */
struct quad_taps {
    int above, below, left, here, right;
    float down;

    /* number of the quad: y * w + q for the pixels (y, 4 q .. 4 q + 3) */
    LUSS_BOTH static quad_taps of(int number, int h, int w) {
        const int y = number / w, q = number - y * w, row = (y + 2) / 4 - 1;
        quad_taps taps;
        taps.above = (row < 0 ? 0 : row) * w;
        taps.below = (row + 1 < h ? row + 1 : h - 1) * w;
        taps.left = q > 0 ? q - 1 : 0;
        taps.here = q;
        taps.right = q + 1 < w ? q + 1 : q;
        taps.down = 0.25f * static_cast<float>((y + 2) % 4) + 0.125f;
        return taps;
    }
    LUSS_BOTH quad value(const float* plane) const {
        const float up = 1.0f - down;
        const float a = plane[above + left] * up + plane[below + left] * down;
        const float b = plane[above + here] * up + plane[below + here] * down;
        const float c = plane[above + right] * up + plane[below + right] * down;
        return quad{{0.375f * a + 0.625f * b, 0.125f * a + 0.875f * b, 0.875f * b + 0.125f * c, 0.625f * b + 0.375f * c}};
    }
};

/* The pixel (y, 4 q + i) alone. */
LUSS_BOTH float enlarged_pixel(const quad_taps& taps, int i, const float* plane) {
    const int low = i < 2 ? taps.left : taps.here, high = i < 2 ? taps.here : taps.right;
    const float right = 0.25f * static_cast<float>((i + 2) % 4) + 0.125f, up = 1.0f - taps.down;
    const float a = plane[taps.above + low] * up + plane[taps.below + low] * taps.down;
    const float b = plane[taps.above + high] * up + plane[taps.below + high] * taps.down;
    return a * (1.0f - right) + b * right;
}

/* Weight of source q in output x along one axis of `size` sources; at the ends the repeated edge counts, too. */
LUSS_BOTH float enlarge4_weight(int x, int q, int size) {
    const int low = (x + 2) / 4 - 1;
    const float high = 0.25f * static_cast<float>((x + 2) % 4) + 0.125f;
    float weight = 0.0f;
    if ((low < 0 ? 0 : low) == q) weight += 1.0f - high;
    if ((low + 1 < size ? low + 1 : size - 1) == q) weight += high;
    return weight;
}

} // namespace luss
