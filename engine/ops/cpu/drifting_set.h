/* A set of centroids prepared for nearest_again.cc: sorted by how far each moved since the iteration before, packed for gemm_tile.h, with an upper
   bound of every score that the packed product leaves uncertain.

   Row x and centroid c are taken from `middle` (float32): y = x - middle, z = c - middle, which changes no distance. With o = |z|^2 / 2
   (cosine: 0, and middle = 0) the score y.z - o is largest for the nearest centroid. The product stands for y'.z', so

     y.z - y'.z' = (y - y').z + y'.(z - z') <= |y - y'| |z| + |y'| |z - z'| <= e n   with e = max(|y - y'|, |y'| / 128), n = |z| + 128 |z - z'|

   int8   y and z are rotated first (rotation.h), which changes no product; y', z' are steps of the row and of the centroid times bytes. The sum of
          their products is exact, turning it into float32 and weighing it rounds thrice: 8 u |y'| more in e.
   fp32   y' = x, z' = c, middle = 0, and the roundings of the sum, m u |x| |c| (centroid_panels.h), make e = m u |x|. */
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "int8_tile.h"

namespace luss {

constexpr float INFINITE = std::numeric_limits<float>::infinity();
constexpr double U = 1.0 / (1 << 24);
constexpr double UNSEEN = 5.4e-23; // sqrt(d) of it: most that a norm can lose as squares below 2^-149 vanish

inline float rounded_up(double x) { return static_cast<float>(x * (x > 0 ? 1 + 1.2e-7 : 1 - 1.2e-7) + 1e-44); }
inline float rounded_down(double x) { return -rounded_up(-x); }

// The two products a set can be packed for: what a column's sums are as float32.
struct fp32_scores {
    using product = fp32_product;
    static constexpr bool ROUNDS_ROWS = false;
    static vf value(vf sum) { return sum; }
    static int words(int depth) { return depth; }
};
#if LUSS_HAS_INT8
struct int8_scores {
    using product = int8_product;
    static constexpr bool ROUNDS_ROWS = true;
    static vf value(vf sum) { return int8_product::value(sum); }
    static int words(int depth) { return int8_words(depth); }
};
#endif

template <int ROWS> struct drifting_set {
    const float* c;
    int depth, count, panels;
    bool cosine;
    std::vector<int32_t> id, rank;             // of the rows of the panels; of the centroids: their rows
    std::vector<float> lead;                   // (panels + 1) rounded up: no centroid of this or a later panel has moved further
    std::vector<float> packed;                 // (panels, words, ROWS)
    std::vector<float> spread, offset, weight; // n; o, infinite for those that never win; the centroid's step relative to the largest
    std::vector<double> half_norm;             // |c|^2 / 2 (cosine: 0) in float64, as nearest_centroid.cc decides with
    double step = 1, per_step = 1, largest_offset = 0, largest_norm = 0;

    drifting_set(const float* c, const float* before, const float* middle, int k, int d, bool cosine, bool int8)
        : c(c), depth(d), count(k), panels((k + ROWS - 1) / ROWS), cosine(cosine), id(k), rank(k), lead(panels + 1, 0.f) {
        sort_by_drift(before);
        const size_t rows = static_cast<size_t>(panels) * ROWS;
        spread.assign(rows, 0.f);
        offset.assign(rows, INFINITE);
        weight.assign(rows, 0.f);
        half_norm.resize(k);
        std::vector<double> square(k);
        for (int j = 0; j < k; ++j) {
            square[j] = product_fp64(c + static_cast<size_t>(j) * d, c + static_cast<size_t>(j) * d, d);
            half_norm[j] = cosine ? 0 : 0.5 * square[j];
            // NaN never wins, nor does infinity but in products: there it leaves every row to float64
            if (!cosine && std::isinf(square[j])) square[j] = std::numeric_limits<double>::quiet_NaN();
            if (square[j] == square[j]) largest_norm = std::max(largest_norm, std::sqrt(square[j]));
        }
        if (largest_norm > 1e15) return;
#if LUSS_HAS_INT8
        if (int8) {
            pack_int8(middle, square);
            return;
        }
#endif
        (void)int8, (void)middle;
        packed.resize(rows * d);
        std::vector<float> sorted(static_cast<size_t>(k) * d);
        for (int at = 0; at < k; ++at) {
            const float* from = c + static_cast<size_t>(id[at]) * d;
            const bool known = square[id[at]] == square[id[at]];
            for (int p = 0; p < d; ++p) sorted[static_cast<size_t>(at) * d + p] = known ? from[p] : 0;
            if (known) describe(at, std::sqrt(square[id[at]]), 0, half_norm[id[at]], 1);
        }
        pack_rows<ROWS>(sorted.data(), d, k, d, packed.data());
    }

    // Whether float32 can hold what comes up on the way; where it cannot, float64 decides every row.
    bool usable() const { return largest_norm <= 1e15; }

private:
    void describe(int at, double norm, double lost, double half, double size) {
        spread[at] = rounded_up((norm + 128 * lost) * (1 + 1e-6));
        offset[at] = static_cast<float>(half);
        weight[at] = static_cast<float>(size);
        largest_offset = std::max(largest_offset, half);
    }

    void sort_by_drift(const float* before) {
        std::vector<float> drift(count, INFINITE);
        for (int j = 0; j < count && before != nullptr; ++j) {
            double square = 0;
            for (int p = 0; p < depth; ++p) {
                const double way = static_cast<double>(c[static_cast<size_t>(j) * depth + p]) - before[static_cast<size_t>(j) * depth + p];
                square += way * way;
            }
            if (square == square) drift[j] = square == 0 ? 0 : rounded_up(std::sqrt(square) * (1 + 1e-11)); // 65536 roundings of 2^-53
        }
        std::iota(id.begin(), id.end(), 0);
        std::stable_sort(id.begin(), id.end(), [&](int a, int b) { return drift[a] > drift[b]; });
        for (int i = 0; i < panels; ++i) lead[i] = drift[id[i * ROWS]];
        for (int at = 0; at < count; ++at) rank[id[at]] = at;
        id.resize(static_cast<size_t>(panels) * ROWS, -1);
    }

#if LUSS_HAS_INT8
    void pack_int8(const float* middle, const std::vector<double>& square) {
        const int words = int8_words(depth);
        packed.assign(static_cast<size_t>(panels) * ROWS * words, 0);
        const rotation turn(int8_stride(depth));
        std::vector<double> rotated(static_cast<size_t>(count) * turn.length, 0.0), steps(count, 0.0);
        for (int j = 0; j < count; ++j) {
            if (square[j] != square[j]) continue;
            double* z = rotated.data() + static_cast<size_t>(j) * turn.length;
            for (int p = 0; p < depth; ++p) z[p] = (static_cast<double>(c[static_cast<size_t>(j) * depth + p]) - middle[p]) * turn.signs[p];
            turn.spread(z);
            double largest = 1e-18;
            for (int p = 0; p < turn.length; ++p) {
                z[p] /= std::sqrt(turn.block);
                largest = std::max(largest, std::abs(z[p]));
            }
            steps[j] = largest / 127;
        }
        step = std::max(*std::max_element(steps.begin(), steps.end()), 1e-20);
        per_step = 1 / step;
        for (int at = 0; at < count; ++at) {
            const int j = id[at];
            if (square[j] != square[j]) continue;
            const double* z = rotated.data() + static_cast<size_t>(j) * turn.length;
            double norm = 0, lost = 0;
            for (int start = 0; start < turn.length; start += 4) {
                uint8_t bytes[4];
                for (int p = start; p < start + 4; ++p) {
                    const int q = static_cast<int>(std::lrint(z[p] / steps[j]));
                    bytes[p - start] = static_cast<uint8_t>(q + 128);
                    norm += z[p] * z[p];
                    lost += (z[p] - q * steps[j]) * (z[p] - q * steps[j]);
                }
                std::memcpy(&packed[place_in_rows<ROWS>(panels, words, at, start / 4)], bytes, 4);
            }
            describe(at, std::sqrt(norm), std::sqrt(lost) + 1e-12 * std::sqrt(norm), cosine ? 0 : 0.5 * norm, steps[j] / step);
        }
    }
#endif
};

} // namespace luss
