// CPU path of engine.ops.attention_pool: a channel at a time, whose enlarged plane lives in a scratch that stays in the nearest cache.
#include <new>

#include "cpu/pixel_norms.h"

namespace luss {
namespace {

struct sizes {
    int64_t n, c;
    int h, w;
    int64_t small() const { return static_cast<int64_t>(h) * w; }
    int64_t pixels() const { return 16 * small(); }
};

// A channel's enlarged features and what its logits are divided by.
struct scratch {
    enlarger4 enlarge;
    std::vector<float> u, extra;
    scratch(int h, int w) : enlarge(h, w), u(enlarge.room()), extra(enlarge.room()) {}
};

void inverse(const float* norms, int64_t count, std::vector<float>& out) {
    out.assign(count, 1.0f);
    if (norms)
        for (int64_t i = 0; i < count; ++i) out[i] = 1.0f / norms[i];
}

float pooled(const float* logits, const float* u, const float* inverse, float threshold, int64_t pixels) {
    vf total[2] = {};
    int64_t p = 0;
    const auto step = [&](vf& to) {
        to = fused(load<vf>(u + p) * load<vf>(inverse + p), sigmoid(load<vf>(logits + p) + threshold), to);
        p += LANES;
    };
    while (p + 2 * LANES <= pixels) step(total[0]), step(total[1]);
    while (p < pixels) step(total[0]);
    return sum(total[0] + total[1]) / static_cast<float>(pixels);
}

// g: the result's gradient over the number of pixels. Returns the threshold's share.
float logits_gradient(const float* logits, const float* u, const float* inverse, float threshold, float g, int64_t pixels, float* out) {
    vf total = {};
    for (int64_t p = 0; p < pixels; p += LANES) {
        const vf e = exponential(-(load<vf>(logits + p) + threshold)), s = 1.0f / (1.0f + e);
        const vf d = load<vf>(u + p) * load<vf>(inverse + p) * g * (s * (e * s)); // 1 - s = e s, without cancellation
        store(out + p, d);
        total += d;
    }
    return sum(total);
}

// t[p] += g u s / |u|^3: what a pixel's norm gives back, for pixels of some rows.
void norm_share(const float* logits, const float* u, const float* inverse, float threshold, float g, int64_t count, float* t) {
    int64_t p = 0;
    for (; p < count; p += LANES) {
        const vf i = load<vf>(inverse + p), s = sigmoid(load<vf>(logits + p) + threshold);
        store(t + p, fused(load<vf>(u + p) * i * i * i * g, s, load<vf>(t + p)));
    }
}

void features_gradient(scratch& own, const float* logits, const float* inverse, const float* t, float threshold, float g,
                       int64_t pixels, float* out) {
    for (int64_t p = 0; p < pixels; p += LANES) {
        const vf direct = g * sigmoid(load<vf>(logits + p) + threshold) * load<vf>(inverse + p);
        store(own.extra.data() + p, direct - load<vf>(own.u.data() + p) * load<vf>(t + p));
    }
    own.enlarge.transpose(own.extra.data(), out);
}

// t (n, pixels): for each pixel the sum over channels, in their order, whoever computes it. A row has 4 w floats, a multiple of LANES only
// over 4 of them, so a source row is the smallest piece.
void norm_shares(std::vector<scratch>& own, const sizes& s, const float* features, const float* logits, const float* inverse,
                 const float* threshold, const float* gradient, const float* norms, float* t, int threads) {
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (int64_t image = 0; image < s.n; ++image)
        for (int q = 0; q < s.h; ++q) {
            scratch& mine = own[thread_number()];
            const int64_t at = image * s.pixels() + q * int64_t{16} * s.w, count = int64_t{16} * s.w;
            std::fill(t + at, t + at + count, 0.0f);
            for (int64_t c = 0; c < s.c; ++c) {
                const int64_t plane = image * s.c + c;
                mine.enlarge.rows(features + plane * s.small(), 4 * q, 4 * q + 4, mine.u.data());
                norm_share(logits + plane * s.pixels() + q * int64_t{16} * s.w, mine.u.data(), inverse + at, threshold[c],
                           gradient[plane] / static_cast<float>(s.pixels()), count, t + at);
            }
            for (int64_t p = at; p < at + count; ++p)
                if (norms[p] <= LEAST_NORM) t[p] = 0; // there the norm is a constant
        }
}

template <class F> int guarded(F body) {
    try {
        body();
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}

} // namespace
} // namespace luss

using namespace luss;

/* The functions' last argument: n, c, h, w, threads, whether norms are given, whether the features' gradient is wanted. What is not given or not
   wanted is not touched. They return 1 for want of memory. */
namespace {

struct call {
    sizes s;
    int threads;
    bool normalize, features_wanted;
    explicit call(const double* numbers)
        : s{static_cast<int64_t>(numbers[0]), static_cast<int64_t>(numbers[1]), static_cast<int>(numbers[2]), static_cast<int>(numbers[3])},
          threads(static_cast<int>(numbers[4])), normalize(numbers[5] != 0), features_wanted(numbers[6] != 0) {}
    int64_t norm_count() const { return (normalize ? s.n : 1) * s.pixels(); } // where there are none, one image's ones serve all
    int64_t image(int64_t plane) const { return normalize ? plane / s.c * s.pixels() : 0; }
};

} // namespace

// norms (n, 4h, 4w): max(|u|, 1e-12)
extern "C" int luss_pixel_norms_cpu(const float* features, float* norms, const double* numbers) {
    const call at(numbers);
    return guarded([&] { pixel_norms(features, at.s.n, at.s.c, at.s.h, at.s.w, norms, at.threads); });
}

// out (n, c)
extern "C" int luss_attention_pool_cpu(const float* features, const float* logits, const float* threshold, const float* norms, float* out,
                                       const double* numbers) {
    const call at(numbers);
    const sizes& s = at.s;
    return guarded([&] {
        std::vector<scratch> own(at.threads, scratch(s.h, s.w));
        std::vector<float> by;
        inverse(at.normalize ? norms : nullptr, at.norm_count(), by);
#pragma omp parallel for num_threads(at.threads) if (at.threads > 1)
        for (int64_t plane = 0; plane < s.n * s.c; ++plane) {
            scratch& mine = own[thread_number()];
            mine.enlarge.rows(features + plane * s.small(), 0, 4 * s.h, mine.u.data());
            out[plane] = pooled(logits + plane * s.pixels(), mine.u.data(), by.data() + at.image(plane), threshold[plane % s.c], s.pixels());
        }
    });
}

// gradient (n, c) of the result; d_logits like logits; d_threshold (c,); d_features like features.
extern "C" int luss_attention_pool_grad_cpu(const float* features, const float* logits, const float* threshold, const float* norms,
                                            const float* gradient, float* d_logits, float* d_threshold, float* d_features, const double* numbers) {
    const call at(numbers);
    const sizes& s = at.s;
    return guarded([&] {
        std::vector<scratch> own(at.threads, scratch(s.h, s.w));
        std::vector<float> by, shares(s.n * s.c), t(at.features_wanted ? at.norm_count() : 0, 0.0f);
        inverse(at.normalize ? norms : nullptr, at.norm_count(), by);
        if (at.features_wanted && at.normalize) norm_shares(own, s, features, logits, by.data(), threshold, gradient, norms, t.data(), at.threads);
#pragma omp parallel for num_threads(at.threads) if (at.threads > 1)
        for (int64_t plane = 0; plane < s.n * s.c; ++plane) {
            scratch& mine = own[thread_number()];
            const float *z = logits + plane * s.pixels(), *over = by.data() + at.image(plane);
            const float g = gradient[plane] / static_cast<float>(s.pixels()), shift = threshold[plane % s.c];
            mine.enlarge.rows(features + plane * s.small(), 0, 4 * s.h, mine.u.data());
            shares[plane] = logits_gradient(z, mine.u.data(), over, shift, g, s.pixels(), d_logits + plane * s.pixels());
            if (at.features_wanted)
                features_gradient(mine, z, over, t.data() + at.image(plane), shift, g, s.pixels(), d_features + plane * s.small());
        }
        std::fill(d_threshold, d_threshold + s.c, 0.0f);
        for (int64_t plane = 0; plane < s.n * s.c; ++plane) d_threshold[plane % s.c] += shares[plane];
    });
}
