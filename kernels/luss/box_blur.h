/* Pillow's GaussianBlur (BoxBlur.c): three box blurs along the rows, then three down the columns, each rounded to 8 bits and each replicating
   the border anew. A box is 2 radius + 1 whole pixels and a part of one more on both sides; its length gives the standard deviation (Gwosdek et
   al., SSVM 2011). Whole numbers, so the order of summing does not matter. Plain C++ for g++ (-ffp-contract=off) and nvcc. */
#pragma once
#include "luss/exact.h"

#define LUSS_BOX_PASSES 3
#define LUSS_LARGEST_REACH 8 /* of the largest standard deviation allowed, 8 */

/* Weights of 2^24: (2 radius + 1) inner + 2 outer <= 2^24. */
struct luss_box {
    int32_t radius;
    uint32_t inner, outer;
};

/* Single and double precision alternate as in Pillow's C. */
LUSS_BOTH luss_box luss_make_box(float sigma) {
    const float variance = luss_div(luss_mul(sigma, sigma), static_cast<float>(LUSS_BOX_PASSES));
    const float length = static_cast<float>(luss_sqrt(luss_add(luss_mul(12.0, static_cast<double>(variance)), 1.0)));
    const float whole = static_cast<float>(static_cast<int32_t>(luss_mul(luss_add(static_cast<double>(length), -1.0), 0.5)));
    const float above = luss_add(luss_mul(whole, luss_add(whole, 1.0f)), -luss_mul(3.0f, variance));
    const float next = luss_add(whole, 1.0f), below = luss_mul(6.0f, luss_add(variance, -luss_mul(next, next)));
    const float part = luss_div(luss_mul(luss_add(luss_mul(2.0f, whole), 1.0f), above), below);
    const float radius = luss_add(whole, part);
    luss_box box;
    box.radius = static_cast<int32_t>(radius);
    box.inner = static_cast<uint32_t>(luss_div(16777216.0f, luss_add(luss_mul(radius, 2.0f), 1.0f)));
    box.outer = ((1u << 24) - static_cast<uint32_t>(2 * box.radius + 1) * box.inner) / 2;
    return box;
}

/* The level that `inside`, the sum of 2 radius + 1 levels, and `sides`, the sum of the two next to them, give. */
LUSS_BOTH uint32_t luss_box_level(const luss_box& box, uint32_t inside, uint32_t sides) {
    return (inside * box.inner + sides * box.outer + (1u << 23)) >> 24;
}
