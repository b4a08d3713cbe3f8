/* Pillow's GaussianBlur as one symmetric filter: three box blurs whose fractional length gives the standard deviation (Gwosdek et al.,
   SSVM 2011), composed. 16-bit weights of 2^16; sums of 16-bit products with 7 bits below the level. Plain C++ for g++ and nvcc. */
#pragma once
#include "luss/exact.h"

#define LUSS_BLUR_RADIUS 24 /* of the largest standard deviation allowed, 8 */

namespace luss {

constexpr int BLUR_FRACTION = 7;

struct box_filter {
    int reach;          // its outermost tap
    float inner, outer; // weight of the taps within, and of the two outermost
};

LUSS_BOTH box_filter make_box(float sigma) {
    const float variance = luss_div(luss_mul(sigma, sigma), 3.0f), length = luss_sqrt(luss_add(luss_mul(12.0f, variance), 1.0f));
    const int whole_radius = static_cast<int>(luss_mul(luss_add(length, -1.0f), 0.5f));
    const float l = static_cast<float>(whole_radius), next = static_cast<float>((whole_radius + 1) * (whole_radius + 1));
    const float above = luss_add(luss_mul(l, l + 1), -luss_mul(3.0f, variance)), below = luss_mul(6.0f, luss_add(variance, -next));
    const float part = luss_div(luss_mul(luss_add(luss_mul(2.0f, l), 1.0f), above), below);
    const float inner = luss_div(1.0f, luss_add(luss_mul(2.0f, luss_add(l, part)), 1.0f));
    return box_filter{whole_radius + 1, inner, luss_mul(inner, part)};
}

LUSS_BOTH float box_weight(const box_filter& box, int k) {
    const int distance = k < 0 ? -k : k;
    return distance > box.reach ? 0.0f : distance == box.reach ? box.outer : box.inner;
}

LUSS_BOTH int blur_radius(const box_filter& box) { return 3 * box.reach; }

/* Weight of the tap `k` away, of 65536. */
LUSS_BOTH int blur_weight(const box_filter& box, int k) {
    float sum = 0;
    for (int i = -box.reach; i <= box.reach; ++i)
        for (int j = -box.reach; j <= box.reach; ++j)
            sum = luss_add(sum, luss_mul(luss_mul(box_weight(box, i), box_weight(box, j)), box_weight(box, k - i - j)));
    const int weight = static_cast<int>(luss_add(luss_mul(sum, 65536.0f), 0.5f));
    return weight < 65535 ? weight : 65535;
}

/* What cutting the products of one pass off loses on average. */
LUSS_BOTH int blur_bias(int radius) { return (radius + 1) / 2; }

} // namespace luss
