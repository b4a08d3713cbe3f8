#include "luss/centroid_sums.cuh"
#include "capi/checks.h"

static constexpr int64_t MOST_ROWS = 0x7ffffffe, MOST_COLUMNS = 65535 * luss::SUM_COLUMNS;

extern "C" size_t luss_centroid_sums_scratch(int64_t n, int d, int k) {
    return n < 0 || n > MOST_ROWS || d < 1 || d > MOST_COLUMNS || k < 1 || k > luss::SUMS_MAX_K ? 0 : luss::centroid_sums_scratch(n, d, k);
}

extern "C" int luss_centroid_sums(const void* x, int x_type, const int32_t* label, int64_t n, int d, int k, double* sums, int64_t* counts,
                                  void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("centroid_sums");
    given.type("x_type", x_type).range("n", n, 0, MOST_ROWS).range("d", d, 1, MOST_COLUMNS).range("k", k, 1, luss::SUMS_MAX_K);
    given.array("x", x, n, x_type == LUSS_FLOAT32 ? 4 : 2).array("label", label, n, 4).array("sums", sums, 1, 8).array("counts", counts, 1, 8);
    given.scratch(scratch, scratch_bytes, luss_centroid_sums_scratch(n, d, k), 256);
    return given.launch([&] { // with n == 0, too: sums and counts become 0
        return luss::centroid_sums(x, x_type == LUSS_FLOAT16, label, n, d, k, sums, counts, scratch, scratch_bytes, static_cast<cudaStream_t>(stream));
    });
}

extern "C" size_t luss_score_sums_scratch(int r) { return r < 1 || r > 65535 ? 0 : luss::score_sums_scratch(r); }

extern "C" int luss_score_sums(const float* score, int64_t n, int r, double* totals, void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("score_sums");
    given.range("n", n, 0, INT64_MAX / 65536).range("r", r, 1, 65535).array("score", score, n, 4).array("totals", totals, 1, 8);
    given.scratch(scratch, scratch_bytes, luss_score_sums_scratch(r));
    return given.launch([&] { return luss::score_sums(score, n, r, totals, scratch, scratch_bytes, static_cast<cudaStream_t>(stream)); });
}
