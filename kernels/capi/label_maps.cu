/* upsample_argmax and pixel_nearest_centroid: one file, since a kernel of the first is part of the second. */
#include "luss/pixel_nearest_centroid.cuh"
#include "capi/checks.h"

static_assert(sizeof(luss_label_plan_record) == sizeof(luss_label_plan) && offsetof(luss_label_plan_record, grid_width) == offsetof(luss_label_plan, grid_width),
              "luss_label_plan_record");

extern "C" int luss_upsample_argmax_plan(const int32_t* sizes, int n, int grid_height, int grid_width, int max_res, int with_attention,
                                         luss_label_plan_record* plans, int64_t* labels, size_t* scratch_bytes) {
    luss::capi::checks given("upsample_argmax_plan");
    given.range("n", n, 0, INT32_MAX).range("grid_height", grid_height, 0, 65536).range("grid_width", grid_width, 0, 65536);
    given.range("max_res", max_res, 0, 65536).range("with_attention", with_attention, 0, 1);
    given.range("grid_width", grid_width, grid_height > 0, grid_height > 0 ? 65536 : 0);
    if (n > 0) given.host("sizes", sizes).host("plans", plans);
    given.host("labels", labels).host("scratch_bytes", scratch_bytes);
    for (int i = 0; i < 2 * n && given.good(); ++i) given.range("sizes", sizes[i], 1, 65536);
    for (int i = 0; i < n && given.good(); ++i) given.range("pixels of an image", static_cast<int64_t>(sizes[2 * i]) * sizes[2 * i + 1], 1, INT32_MAX);
    if (!given.good()) return given.code();
    luss_label_task task = {};
    task.n = n, task.attention_height = task.attention_width = with_attention;
    int64_t taps = 0;
    luss_plan_labels(task, sizes, grid_height, grid_width, max_res, reinterpret_cast<luss_label_plan*>(plans), labels, &taps);
    *scratch_bytes = static_cast<size_t>(taps) * sizeof(luss_tap);
    return LUSS_OK;
}

extern "C" int luss_upsample_argmax(const void* logits, int logits_type, int n, int classes, int height, int width, int middle_height,
                                    int middle_width, const luss_label_plan_record* plans, const float* attention, int attention_height,
                                    int attention_width, float threshold, int first_id, int32_t* out, void* scratch, size_t scratch_bytes,
                                    void* stream) {
    luss::capi::checks given("upsample_argmax");
    given.type("logits_type", logits_type).range("n", n, 0, INT32_MAX / 4).range("classes", classes, 1, INT32_MAX);
    given.range("height", height, 1, 65536).range("width", width, 1, 65536).range("height * width", static_cast<int64_t>(height) * width, 1, INT32_MAX);
    if (middle_height != 0 || middle_width != 0) given.range("middle_height", middle_height, height, 65536).range("middle_width", middle_width, width, 65536);
    const int gated = attention_height != 0 || attention_width != 0;
    if (gated) given.range("attention_height", attention_height, 1, 65536).range("attention_width", attention_width, 1, 65536);
    given.array("logits", logits, n, logits_type == LUSS_FLOAT32 ? 4 : 2).array("plans", plans, n, 8).array("attention", attention, gated ? n : 0, 4);
    // an image has at least 2 taps; how many there are in all stands in the plans, which lie on the device
    given.array("out", out, n, 4).scratch(scratch, scratch_bytes, static_cast<size_t>(n < 0 ? 0 : n) * 2 * (1 + gated) * sizeof(luss_tap));
    if (!given.good() || n == 0) return given.code();
    const luss_label_task task = {n, classes, height, width, middle_height, middle_width, attention_height, attention_width, first_id, threshold};
    const auto run = [&](const auto* from) {
        return luss::upsample_argmax(from, task, reinterpret_cast<const luss_label_plan*>(plans), attention, static_cast<luss_tap*>(scratch), out,
                                     static_cast<cudaStream_t>(stream));
    };
    return given.launch([&] { return logits_type == LUSS_FLOAT32 ? run(static_cast<const float*>(logits)) : run(static_cast<const __half*>(logits)); });
}

/* scratch: (n, classes, height, width) scores of 4 bytes, then the taps */
extern "C" size_t luss_pixel_nearest_centroid_scratch(int n, int classes, int height, int width) {
    if (n <= 0 || classes <= 0 || height <= 0 || width <= 0) return 0;
    return (static_cast<size_t>(n) * classes * height * width * sizeof(float) + 15) / 16 * 16;
}

extern "C" int luss_pixel_nearest_centroid(const void* features, int features_type, int n, int depth, int height, int width, const float* unit,
                                           int classes, const luss_label_plan_record* plans, const float* attention, int attention_height,
                                           int attention_width, float threshold, int32_t* out, void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("pixel_nearest_centroid");
    given.type("features_type", features_type).range("n", n, 0, INT32_MAX / 4).range("depth", depth, 1, INT32_MAX).range("classes", classes, 1, INT32_MAX);
    given.range("height", height, 1, 65536).range("width", width, 1, 65536).range("height * width", static_cast<int64_t>(height) * width, 1, INT32_MAX);
    const int gated = attention_height != 0 || attention_width != 0;
    if (gated) given.range("attention_height", attention_height, 1, 65536).range("attention_width", attention_width, 1, 65536);
    given.array("features", features, n, features_type == LUSS_FLOAT32 ? 4 : 2).array("unit", unit, n, 4).array("plans", plans, n, 8);
    given.array("attention", attention, gated ? n : 0, 4).array("out", out, n, 4);
    const size_t scores = luss_pixel_nearest_centroid_scratch(n, classes, height, width);
    given.scratch(scratch, scratch_bytes, scores + static_cast<size_t>(n < 0 ? 0 : n) * 2 * (1 + gated) * sizeof(luss_tap));
    if (!given.good() || n == 0) return given.code();
    const luss_label_task task = {n, classes, height, width, 0, 0, attention_height, attention_width, 1, threshold};
    luss_tap* taps = reinterpret_cast<luss_tap*>(static_cast<char*>(scratch) + scores);
    const auto run = [&](const auto* from) {
        return luss::pixel_nearest_centroid(from, unit, depth, task, reinterpret_cast<const luss_label_plan*>(plans), attention,
                                            static_cast<float*>(scratch), taps, out, static_cast<cudaStream_t>(stream));
    };
    return given.launch([&] { return features_type == LUSS_FLOAT32 ? run(static_cast<const float*>(features)) : run(static_cast<const __half*>(features)); });
}
