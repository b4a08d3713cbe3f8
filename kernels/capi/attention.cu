/* pixel_norms, attention_pool and attention_head: one file, since the first is part of the others. */
#include "luss/attention_head_half.cuh"
#include "luss/attention_pool.cuh"
#include "capi/checks.h"

namespace {

/* The sizes that all of them take; a launch has at most 2^31 - 1 blocks. */
void check_sizes(luss::capi::checks& given, int n, int c, int h, int w) {
    given.range("n", n, 0, INT32_MAX).range("c", c, 1, INT32_MAX).range("h", h, 1, 4096).range("w", w, 1, 4096);
    const double blocks = 1.0 * n * ((4.0 * h * w + luss::NORM_QUADS - 1) / luss::NORM_QUADS);
    given.below("n * ceil(4 h w / 16)", blocks, 2147483648.0).below("n * c", 1.0 * n * c, 2147483648.0 * luss::POOL_WARPS);
}

} // namespace

extern "C" int luss_pixel_norms(const float* features, int n, int c, int h, int w, float* norms, void* stream) {
    luss::capi::checks given("pixel_norms");
    check_sizes(given, n, c, h, w);
    given.array("features", features, n, 16).array("norms", norms, n, 16);
    if (!given.good() || n == 0) return given.code();
    return given.launch([&] { return luss::pixel_norms(features, n, c, h, w, norms, static_cast<cudaStream_t>(stream)); });
}

extern "C" int luss_attention_pool(const float* features, const float* logits, const float* threshold, const float* norms, int n, int c, int h, int w,
                                   float* out, void* stream) {
    luss::capi::checks given("attention_pool");
    check_sizes(given, n, c, h, w);
    given.array("features", features, n, 16).array("logits", logits, n, 16).array("threshold", threshold, n, 16);
    given.array("norms", norms, norms == nullptr ? 0 : n, 16).array("out", out, n, 16);
    if (!given.good() || n == 0) return given.code();
    return given.launch([&] { return luss::attention_pool(features, logits, threshold, norms, n, c, h, w, out, static_cast<cudaStream_t>(stream)); });
}

/* scratch: (n, c) floats, rounded up to 16 bytes, then (n, 4h, 4w) floats */
static size_t pool_shares(int n, int c) { return (static_cast<size_t>(n) * c + 3) / 4 * 4; }

extern "C" size_t luss_attention_pool_grad_scratch(int n, int c, int h, int w) {
    return n <= 0 || c <= 0 || h <= 0 || w <= 0 ? 0 : (pool_shares(n, c) + static_cast<size_t>(n) * 16 * h * w) * sizeof(float);
}

extern "C" int luss_attention_pool_grad(const float* features, const float* logits, const float* threshold, const float* norms, const float* gradient,
                                        int n, int c, int h, int w, float* d_logits, float* d_threshold, float* d_features, void* scratch,
                                        size_t scratch_bytes, void* stream) {
    luss::capi::checks given("attention_pool_grad");
    check_sizes(given, n, c, h, w);
    if (d_features != nullptr) given.below("n * c * h * w", 1.0 * n * c * h * w, 2147483648.0 * 128);
    given.array("features", features, n, 16).array("logits", logits, n, 16).array("threshold", threshold, n, 16);
    given.array("norms", norms, norms == nullptr ? 0 : n, 16).array("gradient", gradient, n, 16).array("d_logits", d_logits, n, 16);
    given.array("d_threshold", d_threshold, 1, 16).array("d_features", d_features, d_features == nullptr ? 0 : n, 16);
    given.scratch(scratch, scratch_bytes, luss_attention_pool_grad_scratch(n, c, h, w));
    if (!given.good()) return given.code();
    float* shares = static_cast<float*>(scratch);
    float* lost = n == 0 ? shares : shares + pool_shares(n, c);
    return given.launch([&] { // with n == 0, too: d_threshold becomes 0
        return luss::attention_pool_grad(features, logits, threshold, norms, gradient, n, c, h, w, d_logits, d_threshold, d_features, shares, lost,
                                         static_cast<cudaStream_t>(stream));
    });
}

extern "C" size_t luss_attention_head_scratch(int n, int c, int h, int w, int products) {
    if (n <= 0 || c <= 0 || h <= 0 || w <= 0) return 0;
    return sizeof(float) * (products == LUSS_FLOAT16 ? luss::attention_head_half_scratch(n, c, h, w) : luss::attention_head_scratch(n, c, h, w));
}

extern "C" int luss_attention_head(const float* features, const float* weight1, const float* scale1, const float* shift1, const float* weight2,
                                   const float* scale2, const float* shift2, int n, int c, int h, int w, int products, float* pooled, float* attention,
                                   void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("attention_head");
    check_sizes(given, n, c, h, w);
    given.type("products", products);
    const double tiles = 1.0 * ((c + luss::HEAD_ROWS - 1) / luss::HEAD_ROWS) * ((16.0 * h * w + luss::HEAD_COLUMNS - 1) / luss::HEAD_COLUMNS);
    given.below("n * ceil(c / 128) * ceil(16 h w / 64)", n * tiles, 2147483648.0);
    given.array("features", features, n, 16).array("weight1", weight1, n, 16).array("scale1", scale1, n, 16).array("shift1", shift1, n, 16);
    given.array("weight2", weight2, n, 16).array("scale2", scale2, n, 16).array("shift2", shift2, n, 16);
    given.array("pooled", pooled, pooled == nullptr ? 0 : n, 16).array("attention", attention, attention == nullptr ? 0 : n, 16);
    given.scratch(scratch, scratch_bytes, luss_attention_head_scratch(n, c, h, w, products));
    if (!given.good() || n == 0) return given.code();
    return given.launch([&] {
        const auto run = products == LUSS_FLOAT16 ? luss::attention_head_half : luss::attention_head;
        return run(features, weight1, scale1, shift1, weight2, scale2, shift2, n, c, h, w, pooled, attention, static_cast<float*>(scratch),
                   static_cast<cudaStream_t>(stream));
    });
}
