#include "luss/upsample_cross_entropy.cuh"
#include "luss/upsample_axis.h"
#include "capi/checks.h"

namespace {

struct tables {
    std::vector<luss_run> rows, columns;
    std::vector<int32_t> row_windows, column_windows;

    tables(int h, int w, int middle_h, int middle_w, int height, int width)
        : rows(luss::axis_runs(h, middle_h, height, luss::RUN_PIXELS)), columns(luss::axis_runs(w, middle_w, width, luss::RUN_PIXELS)),
          row_windows(luss::axis_windows(rows)), column_windows(luss::axis_windows(columns)) {}
    size_t bytes() const { return sizeof(luss_run) * (rows.size() + columns.size()) + sizeof(int32_t) * (row_windows.size() + column_windows.size()); }
    int row_count() const { return static_cast<int>(row_windows.size()) - 1; }
    int column_count() const { return static_cast<int>(column_windows.size()) - 1; }
};

void check_sizes(luss::capi::checks& given, int h, int w, int middle_h, int middle_w, int height, int width) {
    given.range("h", h, 1, 32768).range("w", w, 1, 32768).range("height", height, 1, 32768).range("width", width, 1, 32768);
    if (middle_h != 0 || middle_w != 0) given.range("middle_h", middle_h, h, 32768).range("middle_w", middle_w, w, 32768);
}

template <class T> char* append(char* to, const std::vector<T>& values) {
    memcpy(to, values.data(), sizeof(T) * values.size());
    return to + sizeof(T) * values.size();
}

} // namespace

extern "C" int luss_upsample_cross_entropy_plan(int h, int w, int middle_h, int middle_w, int height, int width, void* plan, size_t* plan_bytes) {
    luss::capi::checks given("upsample_cross_entropy_plan");
    check_sizes(given, h, w, middle_h, middle_w, height, width);
    given.host("plan_bytes", plan_bytes);
    if (!given.good()) return given.code();
    const tables made(h, w, middle_h, middle_w, height, width);
    *plan_bytes = made.bytes();
    if (plan != nullptr) append(append(append(append(static_cast<char*>(plan), made.rows), made.columns), made.row_windows), made.column_windows);
    return LUSS_OK;
}

extern "C" size_t luss_upsample_cross_entropy_scratch(int n, int classes, int h, int w, int middle_h, int middle_w, int height, int width,
                                                      int with_gradient) {
    luss::capi::checks given("upsample_cross_entropy_scratch");
    check_sizes(given, h, w, middle_h, middle_w, height, width);
    if (!given.good() || n <= 0 || classes <= 0) return 0;
    const tables made(h, w, middle_h, middle_w, height, width);
    return static_cast<size_t>(luss::upsample_cross_entropy_scratch(n, classes, made.row_count(), made.column_count(), middle_h != 0, with_gradient != 0));
}

extern "C" int luss_upsample_cross_entropy(const void* logits, int logits_type, const int32_t* labels, int n, int classes, int h, int w, int middle_h,
                                           int middle_w, int height, int width, const void* plan, int has_ignore, int ignore, float* loss,
                                           float* accuracy, float* gradient, void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("upsample_cross_entropy");
    given.type("logits_type", logits_type).range("n", n, 1, INT32_MAX).range("classes", classes, 1, INT32_MAX).range("has_ignore", has_ignore, 0, 1);
    check_sizes(given, h, w, middle_h, middle_w, height, width);
    if (!given.good()) return given.code();
    const tables made(h, w, middle_h, middle_w, height, width);
    given.below("n * windows", 1.0 * n * made.row_count() * made.column_count(), 2147483648.0);
    given.below("n * h * w * ceil(classes / 256)", 1.0 * n * h * w * ((classes + 255) / 256), 2147483648.0);
    given.array("logits", logits, 1, logits_type == LUSS_FLOAT32 ? 4 : 2).array("labels", labels, 1, 4).array("plan", plan, 1, 4);
    given.array("loss", loss, 1, 4).array("accuracy", accuracy, 1, 4).array("gradient", gradient, gradient != nullptr, 4);
    given.scratch(scratch, scratch_bytes,
                  luss_upsample_cross_entropy_scratch(n, classes, h, w, middle_h, middle_w, height, width, gradient != nullptr));
    const luss::entropy_sizes sizes = {n, classes, h, w, height, width, made.row_count(), made.column_count(), has_ignore != 0, ignore};
    const luss_run* rows = static_cast<const luss_run*>(plan);
    const luss_run* columns = rows + made.rows.size();
    const int32_t* row_windows = reinterpret_cast<const int32_t*>(columns + made.columns.size());
    const int32_t* column_windows = row_windows + made.row_windows.size();
    const auto run = [&](const auto* from) {
        return luss::upsample_cross_entropy(from, labels, sizes, rows, row_windows, columns, column_windows, middle_h != 0, loss, accuracy, gradient,
                                            scratch, static_cast<cudaStream_t>(stream));
    };
    return given.launch([&] { return logits_type == LUSS_FLOAT32 ? run(static_cast<const float*>(logits)) : run(static_cast<const __half*>(logits)); });
}
