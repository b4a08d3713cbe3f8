// Softmax cross-entropy along one run of pixels (luss/upsample_axis.h), K classes in the lanes: sums of exp, largest logit, gradient.
//
// Logits are shifted so that the largest of every source pixel is 0; interpolated ones are then <= 0, and z[k] = a[k] + j d[k] along the run.
// Usual case: exp(z[k]) = e[k] r[k]^j, three exponentials for 16 pixels in place of 16; the sums cost a product and an addition an element, the
// gradient, a polynomial in r[k] for each of the 2 source columns, two fused operations an element. Started anew at pixel 8, so e r^j has a
// relative error below 1.5e-7 + 7 (1.5e-7 + 2 * 6e-8) = 2e-6 at the 8th pixel, 1e-6 on average over a run; interpolating a logit of size 20
// in float rounds as much.
// Where a logit lies below -80, or the largest of a pixel below -40 (powers could leave float's range), every exponential is computed by itself
// from z[k] minus the pixel's largest logit.
#pragma once
#include <algorithm>
#include <cmath>

#include "exp_lanes.h"
#include "luss/upsample_axis.h"

namespace luss {

constexpr int LONGEST = LANES == 16 ? 16 : 8; // pixels of a run: as many sums as there are registers for
constexpr int HALF = 8;
constexpr float LOWEST = -0x1p126f; // of a shifted logit, and of the padding behind class K; its exponential is 0

#if defined(__AVX512BW__)
inline bool any(vi yes) { return _mm512_movepi32_mask((__m512i)yes) != 0; }
inline float total(vf v) { return _mm512_reduce_add_ps((__m512)v); }
#else
inline bool any(vi yes) {
    int32_t all = 0;
    for (int i = 0; i < LANES; ++i) all |= yes[i];
    return all != 0;
}
inline float total(vf v) {
    float sum = 0;
    for (int i = 0; i < LANES; ++i) sum += v[i];
    return sum;
}
#endif

struct run_scratch {
    int classes, padded;               // padded: a multiple of LANES
    float *a, *d, *e, *e_half, *ratio; // (padded,) each
};

struct run_pixels {
    float largest[16], sum[16]; // largest shifted logit; sum of exp(z), or of exp(z - largest) where `direct`
    bool direct;
};

inline vf at(const float* p, int k) { return load<vf>(p + k); }

// a and d of all classes; the largest logit of each pixel, from those classes alone that can have it: a class whose larger end is below the largest
// of the smaller ends cannot. (fma rounds monotonically, so the ends bound what lies between them in float, too.)
template <int TAPS> void prepare_run(const luss_run& run, const float* row, const run_scratch& s, run_pixels& out) {
    const float* source[TAPS];
    for (int t = 0; t < TAPS; ++t) source[t] = row + static_cast<int64_t>(run.tap + t) * s.padded;
    const float last = static_cast<float>(run.pixels - 1);
    vf best = constant(LOWEST, vf{}), worst{};
    const vi lanes = lane_numbers();
    for (int k = 0; k < s.padded; k += LANES) {
        vf a = run.start[0] * at(source[0], k), d = run.step[0] * at(source[0], k);
        for (int t = 1; t < TAPS; ++t) {
            a = fused(constant(run.start[t], a), at(source[t], k), a);
            d = fused(constant(run.step[t], d), at(source[t], k), d);
        }
        store(s.a + k, a);
        store(s.d + k, d);
        const vf end = fused(constant(last, a), d, a);
        store(s.e + k, most(a, end)); // e is free until the exponentials
        const vf low = least(a, end);
        best = most(best, low);
        worst = least(worst, k + LANES <= s.classes ? low : select(lanes < s.classes - k, low, vf{}));
    }
    float bar = best[0], deepest = worst[0];
    for (int i = 1; i < LANES; ++i) bar = std::max(bar, best[i]), deepest = std::min(deepest, worst[i]);

    constexpr int PARTS = (LONGEST + LANES - 1) / LANES;
    vf largest[PARTS], number[PARTS];
    for (int i = 0; i < PARTS; ++i) largest[i] = constant(-INFINITY, vf{}), number[i] = floats(lanes) + static_cast<float>(i * LANES);
    for (int k = 0; k < s.padded; k += LANES) {
        const vi candidate = at(s.e, k) >= bar;
        if (!any(candidate)) continue;
        for (int i = 0; i < LANES && k + i < s.classes; ++i)
            if (candidate[i])
                for (int p = 0; p < PARTS; ++p) {
                    const vf a = constant(s.a[k + i], vf{}), d = constant(s.d[k + i], vf{});
                    largest[p] = most(largest[p], fused(number[p], d, a));
                }
    }
    float shallowest = 0;
    for (int j = 0; j < run.pixels; ++j) {
        out.largest[j] = largest[j / LANES][j % LANES];
        shallowest = std::min(shallowest, out.largest[j]);
    }
    out.direct = deepest < -80.0f || shallowest < -40.0f;
}

template <int N> void sum_powers(const run_scratch& s, run_pixels& out) {
    vf sum[N] = {};
    for (int k = 0; k < s.padded; k += LANES) {
        const vf a = at(s.a, k), d = at(s.d, k);
        vf e = exp_lanes(a), ratio{}, half{};
        store(s.e + k, e);
        if (N > 1) store(s.ratio + k, ratio = exp_lanes(d));
        if (N > HALF) store(s.e_half + k, half = exp_lanes(fused(constant(HALF, d), d, a)));
#pragma GCC unroll 16
        for (int j = 0; j < N; ++j) {
            if (j == HALF) e = half;
            sum[j] += e;
            if (j + 1 < N) e *= ratio;
        }
    }
    for (int j = 0; j < N; ++j) out.sum[j] = total(sum[j]);
}

// Coefficients of the gradient: what pixel j's exp z adds to each of the run's source columns. Positive all, so that nothing cancels.
template <int TAPS> struct run_shares {
    float of[TAPS][16];

    run_shares(const luss_run& run, const int* counted, const run_pixels& pixels) {
        for (int j = 0; j < run.pixels; ++j) {
            const float share = static_cast<float>(counted[j]) / pixels.sum[j];
            for (int t = 0; t < TAPS; ++t) of[t][j] = share * (run.start[t] + static_cast<float>(j) * run.step[t]);
        }
    }
};

// sum over BEGIN <= j < END of coefficient[j] ratio^(j - BEGIN), by Horner's scheme.
template <int BEGIN, int END> vf polynomial(const float* coefficient, vf ratio) {
    vf p = constant(coefficient[END - 1], ratio);
#pragma GCC unroll 16
    for (int j = END - 2; j >= BEGIN; --j) p = fused(p, ratio, constant(coefficient[j], ratio));
    return p;
}

// row += the gradient of sum_j counted[j] log(sum_k exp z[k]) by the run's source columns.
template <int TAPS, int N> void gradient_powers(const luss_run& run, const run_scratch& s, const run_shares<TAPS>& shares, float* row) {
    float* to = row + static_cast<int64_t>(run.tap) * s.padded;
    for (int k = 0; k < s.padded; k += LANES) {
        const vf e = at(s.e, k), ratio = N > 1 ? at(s.ratio, k) : e, half = N > HALF ? at(s.e_half, k) : e;
#pragma GCC unroll 3
        for (int t = 0; t < TAPS; ++t) {
            float* here = to + static_cast<int64_t>(t) * s.padded + k;
            vf sum = fused(polynomial<0, (N > HALF ? HALF : N)>(shares.of[t], ratio), e, load<vf>(here));
            if (N > HALF) sum = fused(polynomial<HALF, (N > HALF ? N : HALF + 1)>(shares.of[t], ratio), half, sum);
            store(here, sum);
        }
    }
}

inline void sum_direct(int pixels, const run_scratch& s, run_pixels& out) {
    for (int j = 0; j < pixels; ++j) {
        vf sum{};
        const vf number = constant(static_cast<float>(j), sum);
        for (int k = 0; k < s.padded; k += LANES) sum += exp_lanes(fused(number, at(s.d, k), at(s.a, k)) - out.largest[j]);
        out.sum[j] = total(sum);
    }
}

template <int TAPS> void gradient_direct(const luss_run& run, const run_scratch& s, const run_pixels& p, const run_shares<TAPS>& shares, float* row) {
    for (int k = 0; k < s.padded; k += LANES)
        for (int j = 0; j < run.pixels; ++j) {
            const vf e = exp_lanes(fused(constant(static_cast<float>(j), vf{}), at(s.d, k), at(s.a, k)) - p.largest[j]);
            for (int t = 0; t < TAPS; ++t) {
                float* here = row + static_cast<int64_t>(run.tap + t) * s.padded + k;
                store(here, fused(constant(shares.of[t][j], e), e, load<vf>(here)));
            }
        }
}

template <int N> void sum_run(const luss_run& run, const run_scratch& s, run_pixels& out) {
    if (run.pixels == N) return sum_powers<N>(s, out);
    sum_run<N - 1>(run, s, out);
}
template <> inline void sum_run<0>(const luss_run&, const run_scratch&, run_pixels&) {}
template <int TAPS, int N> struct gradient_run {
    static void run(const luss_run& r, const run_scratch& s, const run_shares<TAPS>& shares, float* row) {
        if (r.pixels == N) return gradient_powers<TAPS, N>(r, s, shares, row);
        gradient_run<TAPS, N - 1>::run(r, s, shares, row);
    }
};
template <int TAPS> struct gradient_run<TAPS, 0> {
    static void run(const luss_run&, const run_scratch&, const run_shares<TAPS>&, float*) {}
};

} // namespace luss
