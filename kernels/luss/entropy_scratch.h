/* Sizes and working memory of upsample_cross_entropy.cuh. Plain C++ for g++ and nvcc. */
#pragma once
#include "luss/crop_table.h"

namespace luss {

struct entropy_sizes {
    int n, classes, h, w, height, width, row_windows, column_windows;
    bool has_ignore;
    int ignore;

    LUSS_BOTH int windows() const { return row_windows * column_windows; }
    LUSS_BOTH int64_t pixels() const { return static_cast<int64_t>(height) * width; }
    LUSS_BOTH int64_t plane() const { return static_cast<int64_t>(h) * w; }
};

/* Parts of the scratch. */
struct entropy_scratch {
    double* loss;             // (n * windows,)
    unsigned long long* right; // (n * windows,)
    unsigned* counted;        // (n,) pixels that count
    unsigned* wrong;          // (n,) not 0: a logit is NaN or infinite
    float* scale;             // (4,), the first is used
    float* planes;            // (n * windows, taps * taps, K)

    LUSS_BOTH entropy_scratch(void* at, int n, int windows) {
        const int64_t units = static_cast<int64_t>(n) * windows;
        loss = static_cast<double*>(at);
        right = reinterpret_cast<unsigned long long*>(loss + units);
        scale = reinterpret_cast<float*>(right + units);
        counted = reinterpret_cast<unsigned*>(scale + 4);
        wrong = counted + n;
        planes = reinterpret_cast<float*>(wrong + n);
    }
};

inline int64_t upsample_cross_entropy_scratch(int n, int classes, int row_windows, int column_windows, bool two_steps, bool gradient) {
    const int64_t units = static_cast<int64_t>(n) * row_windows * column_windows, corners = two_steps ? 9 : 4;
    return units * 16 + 16 + static_cast<int64_t>(n) * 8 + (gradient ? units * corners * classes * 4 : 0);
}

} // namespace luss
