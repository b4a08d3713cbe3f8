// A plane (h, w) enlarged four times by bilinear interpolation, pixel centres (align_corners false), edges repeated.
// Output 4 q + r lies between q - 1 and q (r = 0, 1) or q and q + 1 (r = 2, 3), with weights in eighths: so all products with them but
// one rounding are exact, and taps of weight 0 are not read, so that they cannot spread a NaN.
#pragma once
#include <algorithm>
#include <vector>

#include "sigmoid.h"

namespace luss {

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

class enlarger4 {
  public:
    enlarger4(int h, int w) : h_(h), w_(w), stride_((4 * w + LANES - 1) / LANES * LANES), line_(w + 3), wide_(static_cast<size_t>(h) * stride_) {}

    // Floats that `rows` may write: LANES of slack after the last row.
    size_t room() const { return static_cast<size_t>(4 * h_) * 4 * w_ + LANES; }

    // Rows first <= y < last of the enlarged plane to out, 4 w floats each; what follows the last is overwritten by up to LANES floats.
    void rows(const float* plane, int first, int last, float* out) {
        const int low = std::max((first + 2) / 4 - 1, 0), high = std::min((last - 1 + 2) / 4, h_ - 1);
        for (int q = low; q <= high; ++q) widen(plane + static_cast<size_t>(q) * w_, wide_.data() + static_cast<size_t>(q) * stride_);
        for (int y = first; y < last; ++y, out += 4 * w_) {
            const int q = (y + 2) / 4 - 1; // between q and q + 1
            const float weight = 0.25f * ((y + 2) % 4) + 0.125f;
            const float* a = wide_.data() + static_cast<size_t>(std::max(q, 0)) * stride_;
            const float* b = wide_.data() + static_cast<size_t>(std::min(q + 1, h_ - 1)) * stride_;
            for (int x = 0; x < 4 * w_; x += LANES) store(out + x, fused(load<vf>(b + x), splat(weight), load<vf>(a + x) * (1 - weight)));
        }
    }

    // The transpose: (4 h, 4 w) to (h, w).
    void transpose(const float* wide, float* plane) {
        const float weights[8] = {0.125f, 0.375f, 0.625f, 0.875f, 0.875f, 0.625f, 0.375f, 0.125f};
        const int width = 4 * w_;
        for (int q = 0; q < h_; ++q) {
            float* line = wide_.data() + static_cast<size_t>(q) * stride_;
            std::fill(line, line + width, 0.0f);
            for (int k = 0; k < 8; ++k) add(wide, 4 * q - 2 + k, weights[k], line);
            if (q == 0) add(wide, 0, 0.375f, line), add(wide, 1, 0.125f, line);
            if (q == h_ - 1) add(wide, 4 * h_ - 2, 0.125f, line), add(wide, 4 * h_ - 1, 0.375f, line);
            float* to = plane + static_cast<size_t>(q) * w_;
            for (int x = 0; x < w_; ++x) {
                float total = 0;
                for (int k = std::max(0, 2 - 4 * x); k < std::min(8, width - 4 * x + 2); ++k) total += weights[k] * line[4 * x - 2 + k];
                to[x] = total;
            }
            to[0] += 0.375f * line[0] + 0.125f * line[1];
            to[w_ - 1] += 0.125f * line[width - 2] + 0.375f * line[width - 1];
        }
    }

  private:
    void widen(const float* row, float* out) {
        float* line = line_.data(); // the row with its ends repeated, and one more that is loaded and not used
        std::copy(row, row + w_, line + 1);
        line[0] = row[0], line[w_ + 1] = line[w_ + 2] = row[w_ - 1];
        const f4 low = {0.375f, 0.125f, 0.875f, 0.625f}, high = {0.625f, 0.875f, 0.125f, 0.375f};
        for (int x = 0; x < w_; ++x) {
            const f4 four = load<f4>(line + x);
            const f4 a = __builtin_shuffle(four, i4{0, 0, 1, 1}), b = __builtin_shuffle(four, i4{1, 1, 2, 2});
            store(out + 4 * x, a * low + b * high);
        }
    }
    void add(const float* wide, int y, float weight, float* line) {
        if (y < 0 || y >= 4 * h_) return;
        const float* row = wide + static_cast<size_t>(y) * 4 * w_;
        for (int x = 0; x < 4 * w_; ++x) line[x] += weight * row[x];
    }

    const int h_, w_, stride_;
    std::vector<float> line_, wide_;
};

} // namespace luss
