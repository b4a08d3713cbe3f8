/* Pillow's GaussianBlur as one symmetric filter: three box blurs whose fractional length gives the standard deviation (Gwosdek et al.,
   SSVM 2011), composed. 16-bit weights of 2^16; sums of 16-bit products with 7 bits below the level. Plain C++ for g++ and nvcc. */
#pragma once
#include <cmath>

#include "luss/exact.h"

#define LUSS_BLUR_RADIUS 24 /* of the largest standard deviation allowed, 8 */

namespace luss {

constexpr int BLUR_FRACTION = 7;

struct box_filter {
    int reach;           // its outermost tap
    double inner, outer; // weight of the taps within, and of the two outermost
};

LUSS_BOTH box_filter make_box(float sigma) {
    const double variance = luss_div(luss_mul(static_cast<double>(sigma), static_cast<double>(sigma)), 3.0);
    const double length = sqrt(luss_add(luss_mul(12.0, variance), 1.0));
    const int whole_radius = static_cast<int>((length - 1) * 0.5);
    const double l = whole_radius, next = (l + 1) * (l + 1);
    const double part = luss_div(luss_mul(2 * l + 1, luss_add(l * (l + 1), -luss_mul(3.0, variance))), luss_mul(6.0, luss_add(variance, -next)));
    const double inner = luss_div(1.0, luss_add(luss_mul(2.0, luss_add(l, part)), 1.0));
    return box_filter{whole_radius + 1, inner, luss_mul(inner, part)};
}

LUSS_BOTH double box_weight(const box_filter& box, int k) {
    const int distance = k < 0 ? -k : k;
    return distance > box.reach ? 0.0 : distance == box.reach ? box.outer : box.inner;
}

LUSS_BOTH int blur_radius(const box_filter& box) { return 3 * box.reach; }

/* Weight of the tap `k` away, of 65536. */
LUSS_BOTH int blur_weight(const box_filter& box, int k) {
    double sum = 0;
    for (int i = -box.reach; i <= box.reach; ++i)
        for (int j = -box.reach; j <= box.reach; ++j)
            sum = luss_add(sum, luss_mul(luss_mul(box_weight(box, i), box_weight(box, j)), box_weight(box, k - i - j)));
    const int weight = static_cast<int>(luss_add(luss_mul(sum, 65536.0), 0.5));
    return weight < 65535 ? weight : 65535;
}

/* What cutting the products of one pass off loses on average. */
LUSS_BOTH int blur_bias(int radius) { return (radius + 1) / 2; }

} // namespace luss
