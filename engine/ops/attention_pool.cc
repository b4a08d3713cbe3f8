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

void features_gradient(scratch& own, const float* logits, const float* inverse, const float* t, float threshold, float g, int64_t pixels, float* out) {
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

// norms (n, 4h, 4w): max(|u|, 1e-12). Returns 1 for want of memory, as do the others.
extern "C" int luss_pixel_norms_cpu(const float* features, int64_t n, int64_t c, int h, int w, float* norms, int threads) {
    return guarded([&] { pixel_norms(features, n, c, h, w, norms, threads); });
}

// norms: as above, or null for no division. out (n, c).
extern "C" int luss_attention_pool_cpu(const float* features, const float* logits, const float* threshold, const float* norms, int64_t n, int64_t c,
                                       int h, int w, float* out, int threads) {
    return guarded([&] {
        const sizes s{n, c, h, w};
        std::vector<scratch> own(threads, scratch(h, w));
        std::vector<float> by;
        inverse(norms, norms ? n * s.pixels() : s.pixels(), by);
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (int64_t plane = 0; plane < n * c; ++plane) {
            scratch& mine = own[thread_number()];
            mine.enlarge.rows(features + plane * s.small(), 0, 4 * h, mine.u.data());
            const float* over = by.data() + (norms ? plane / c * s.pixels() : 0);
            out[plane] = pooled(logits + plane * s.pixels(), mine.u.data(), over, threshold[plane % c], s.pixels());
        }
    });
}

// gradient (n, c) of the result; d_logits like logits; d_threshold (c,); d_features like features, or null where it is not wanted.
extern "C" int luss_attention_pool_grad_cpu(const float* features, const float* logits, const float* threshold, const float* norms,
                                            const float* gradient, int64_t n, int64_t c, int h, int w, float* d_logits, float* d_threshold,
                                            float* d_features, int threads) {
    return guarded([&] {
        const sizes s{n, c, h, w};
        std::vector<scratch> own(threads, scratch(h, w));
        std::vector<float> by, shares(n * c), t;
        inverse(norms, norms ? n * s.pixels() : s.pixels(), by);
        if (d_features) t.assign(norms ? n * s.pixels() : s.pixels(), 0.0f);
        if (d_features && norms) norm_shares(own, s, features, logits, by.data(), threshold, gradient, norms, t.data(), threads);
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (int64_t plane = 0; plane < n * c; ++plane) {
            scratch& mine = own[thread_number()];
            const int64_t image = norms ? plane / c * s.pixels() : 0;
            const float* z = logits + plane * s.pixels();
            const float g = gradient[plane] / static_cast<float>(s.pixels());
            mine.enlarge.rows(features + plane * s.small(), 0, 4 * h, mine.u.data());
            shares[plane] = logits_gradient(z, mine.u.data(), by.data() + image, threshold[plane % c], g, s.pixels(), d_logits + plane * s.pixels());
            if (d_features)
                features_gradient(mine, z, by.data() + image, t.data() + image, threshold[plane % c], g, s.pixels(), d_features + plane * s.small());
        }
        std::fill(d_threshold, d_threshold + c, 0.0f);
        for (int64_t plane = 0; plane < n * c; ++plane) d_threshold[plane % c] += shares[plane];
    });
}
