// The logistic function of vectors, and what sums of them need.
#pragma once
#include "exp_lanes.h"

namespace luss {

inline vf splat(float x) { return constant(x, vf{}); }

// Of all lanes, halves onto halves: the same order on every call.
inline float sum(vf v) {
    float part[LANES];
    store(part, v);
    for (int step = LANES / 2; step > 0; step /= 2)
        for (int i = 0; i < step; ++i) part[i] += part[i + step];
    return part[0];
}

// exp(x) for x cut off to [-87, 87]; NaN stays NaN.
inline vf exponential(vf x) { return select(x == x, exp_lanes(least(splat(87.0f), most(splat(-87.0f), x))), x); }

// 1 / (1 + exp(-x)), between exp(-87) and 1; NaN stays NaN. Relative error below 2.7e-7: exp's, and half a unit each of the sum and the quotient.
inline vf sigmoid(vf x) { return 1.0f / (1.0f + exponential(-x)); }

} // namespace luss
