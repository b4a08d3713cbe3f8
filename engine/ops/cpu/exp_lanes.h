// exp of a vector of floats.
#pragma once
#include "lanes.h"

namespace luss {

// Relative error below 1.5e-7 for -87 <= x <= 88; 0 below; anything above 88 and for NaN.
// x = n ln 2 + f: 3.6e-9 of the polynomial of degree 6 (fitted to the least relative error on |f| <= ln 2 / 2, coefficients in float), up to 1.5e-8
// of f's rounding (n times the upper ten bits of ln 2 is exact), 2e-8 of the inner step's and 8.5e-8 of the last step's; 2^n is exact.
inline vf exp_lanes(vf x) {
    const vf shift = constant(12582912.0f, x); // 1.5 * 2^23: adding it rounds to a whole number, which the low bits hold
    const vf shifted = fused(x, constant(1.44269504f, x), shift), n = shifted - shift;
    const vf f = fused(n, constant(2.12194440e-4f, x), fused(n, constant(-0.693359375f, x), x));
    vf p = fused(constant(0.00138145406f, x), f, constant(0.00836874545f, x));
    p = fused(p, f, constant(0.041668389f, x));
    p = fused(p, f, constant(0.166665211f, x));
    p = fused(p, f, constant(0.49999994f, x));
    p = fused(p, f, constant(1.0f, x));
    p = fused(p, f, constant(1.0f, x));
    return select(x < -87.0f, vf{}, (vf)((vu)p + ((vu)shifted << 23)));
}

} // namespace luss
