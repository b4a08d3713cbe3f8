// kernels/luss/attention_pool.cuh on the CPU, between guards; called by tests/engine/ops/test_attention_pool_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/attention_pool.cuh"

using cuda_on_cpu::Guarded;

namespace {

struct inputs {
    Guarded<float> features, logits, threshold, norms;
    bool normalize;
    inputs(const float* f, const float* z, const float* t, const float* given, int n, int c, int h, int w)
        : features(f, static_cast<size_t>(n) * c * h * w), logits(z, static_cast<size_t>(16) * n * c * h * w), threshold(t, c),
          norms(given ? given : z, given ? static_cast<size_t>(16) * n * h * w : 0), normalize(given != nullptr) {}
    const float* by() { return normalize ? norms.data() : nullptr; }
};

} // namespace

extern "C" int luss_emulate_pixel_norms(const float* features, int n, int c, int h, int w, int inverse, float* out, int order, char* message,
                                        int room) {
    return cuda_on_cpu::guarded([&] {
        Guarded<float> given(features, static_cast<size_t>(n) * c * h * w), norms(static_cast<size_t>(16) * n * h * w);
        luss::pixel_norms(given.data(), n, c, h, w, norms.data(), nullptr, inverse);
        norms.copy_to(out, "norms");
    }, order, message, room);
}

extern "C" int luss_emulate_attention_pool(const float* features, const float* logits, const float* threshold, const float* norms, int n, int c,
                                           int h, int w, float* out, int order, char* message, int room) {
    return cuda_on_cpu::guarded([&] {
        inputs given(features, logits, threshold, norms, n, c, h, w);
        Guarded<float> result(static_cast<size_t>(n) * c);
        luss::attention_pool(given.features.data(), given.logits.data(), given.threshold.data(), given.by(), n, c, h, w, result.data(), nullptr);
        result.copy_to(out, "out");
    }, order, message, room);
}

// d_features null: not wanted.
extern "C" int luss_emulate_attention_pool_grad(const float* features, const float* logits, const float* threshold, const float* norms,
                                                const float* gradient, int n, int c, int h, int w, float* d_logits, float* d_threshold,
                                                float* d_features, int order, char* message, int room) {
    return cuda_on_cpu::guarded([&] {
        inputs given(features, logits, threshold, norms, n, c, h, w);
        const size_t planes = static_cast<size_t>(n) * c;
        Guarded<float> g(gradient, planes), logits_out(16 * planes * h * w), threshold_out(c), features_out(planes * h * w), shares(planes);
        Guarded<float> lost(d_features && norms ? static_cast<size_t>(16) * n * h * w : 1);
        luss::attention_pool_grad(given.features.data(), given.logits.data(), given.threshold.data(), given.by(), g.data(), n, c, h, w,
                                  logits_out.data(), threshold_out.data(), d_features ? features_out.data() : nullptr, shares.data(), lost.data(),
                                  nullptr);
        logits_out.copy_to(d_logits, "d_logits");
        threshold_out.copy_to(d_threshold, "d_threshold");
        if (d_features) features_out.copy_to(d_features, "d_features");
    }, order, message, room);
}
