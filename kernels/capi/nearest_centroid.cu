#include "luss/nearest_centroid.cuh"
#include "capi/checks.h"

static bool possible(int64_t n, int d, int k, int r, int mode) {
    return n > 0 && d > 0 && d <= luss::NEAREST_MAX_D && k > 0 && k <= luss::NEAREST_MAX_K && r > 0 && r <= luss::NEAREST_MAX_R && (mode == 0 || mode == 1);
}

extern "C" size_t luss_nearest_centroid_scratch(int64_t n, int d, int k, int r, int mode) {
    return possible(n, d, k, r, mode) ? luss::nearest_centroid_scratch(n, d, k, r, mode) : 0;
}

extern "C" int luss_nearest_centroid(const void* x, int x_type, const float* centroids, int64_t n, int d, int k, int r, int cosine, int mode,
                                     int32_t* label, float* score, void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("nearest_centroid");
    given.type("x_type", x_type).range("n", n, 0, INT64_MAX / 4096).range("d", d, 1, luss::NEAREST_MAX_D).range("k", k, 1, luss::NEAREST_MAX_K);
    given.range("r", r, 1, luss::NEAREST_MAX_R).range("cosine", cosine, 0, 1).range("mode", mode, 0, 1);
    given.below("ceil(n / 64)", static_cast<double>(n) / 64, 2147483647.0);
    given.array("x", x, n, x_type == LUSS_FLOAT32 ? 4 : 2).array("centroids", centroids, n, 4).array("label", label, n, 4);
    given.array("score", score, score == nullptr ? 0 : n, 4);
    given.scratch(scratch, scratch_bytes, luss_nearest_centroid_scratch(n, d, k, r, mode), 256);
    if (!given.good() || n == 0) return given.code();
    return given.launch([&] {
        return luss::nearest_centroid(x, x_type == LUSS_FLOAT16, centroids, n, d, k, r, cosine, mode, label, score, scratch, scratch_bytes,
                                      static_cast<cudaStream_t>(stream));
    });
}
