/* Centroids prepared for nearest_centroid.cc: panels for gemm_tile.h, |c|^2 / 2, and the rounding bounds.

   The score of centroid c for row x is x.c - h with h = |c|^2 / 2 (largest = nearest, as |x - c|^2 = |x|^2 - 2 (x.c - h)), or x.c alone (h = 0).
   u = 2^-24. A computed score differs from the exact one by at most

     fp32   E = m u |x| |c| + u' (|x| |c| + 2 h) + t
              m roundings touch a product on its way into the sum (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1), and
              sum of |x_i c_i| <= |x| |c|; h is rounded once, so is the subtraction; t = (d + 8) 2^-148 stands for results below 2^-126.
     bf16   E = (|x - x'| |c| + |x'| |c - c'|) + m' u |x'| |c'| + u' (...) + t'
              x', c' the rounded vectors: x.c - x'.c' = (x - x').c + x'.(c - c'); m' with two roundings a word; t' = (d + 8) 2^-124.

   Each is taken with the largest |c|, h, |c - c'| and |c'| of all centroids, six more roundings for the comparisons themselves, and 1 % for what
   the bound's own computation rounds. Where it may overflow, it is infinite. Centroids that can never win (h is NaN, or infinite in the distance) do
   not count. A row whose best score is ahead of the second by more than 2 E has its label; the others are decided again. */
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "bf16_tile.h"
#include "row_distance.h"

namespace luss {

constexpr float INFINITE = std::numeric_limits<float>::infinity();
constexpr double U = 1.0 / (1 << 24);
constexpr double UNSEEN = 5.4e-23; // sqrt(d) of it: most that a norm can lose as squares below 2^-149 vanish

template <int ROWS> struct centroid_panels {
    int depth, count, panels;
    std::vector<float> fp32;       // (panels, depth, ROWS)
    std::vector<float> bf16;       // (panels, words, ROWS), where asked for
    std::vector<float> half_norm;  // h; infinite for the rows that fill up
    std::vector<double> exact_half_norm;
    double norm = 0, largest_half = 0, rounded_norm = 0, lost_norm = 0; // largest of the centroids that can win

    centroid_panels(const float* c, int k, int d, bool cosine, bool with_bf16) : depth(d), count(k), panels((k + ROWS - 1) / ROWS) {
        const size_t rows = static_cast<size_t>(panels) * ROWS;
        half_norm.assign(rows, INFINITE);
        exact_half_norm.resize(k);
        for (int j = 0; j < k; ++j) {
            const double square = product_fp64(c + static_cast<size_t>(j) * d, c + static_cast<size_t>(j) * d, d);
            exact_half_norm[j] = cosine ? 0 : 0.5 * square;
            half_norm[j] = static_cast<float>(exact_half_norm[j]);
            if (square != square || (!cosine && square == std::numeric_limits<double>::infinity())) continue;
            norm = std::max(norm, std::sqrt(square));
            largest_half = std::max(largest_half, exact_half_norm[j]);
        }
        fp32.resize(rows * d);
        pack_rows<ROWS>(c, d, k, d, fp32.data());
#if LUSS_HAS_BF16
        if (with_bf16) round_panels(c);
#else
        (void)with_bf16;
#endif
    }

    // 2 E of TILE_COLUMNS rows with |x|^2 = square, in fp32.
    void bounds(const float* square, float* limit) const {
        const double unseen = std::sqrt(depth) * UNSEEN;
        const double roundings = ROUNDINGS * std::min(depth, DEPTH_BLOCK) + (depth + DEPTH_BLOCK - 1) / DEPTH_BLOCK + 7;
        const double by_norm = roundings * U * norm;
        const float a = static_cast<float>(2.02 * by_norm);
        const float b = static_cast<float>(2.02 * (by_norm * unseen + 8 * U * largest_half + (depth + 8) * 2.9e-45));
        const float beyond = first_unsafe_norm();
        for (int j = 0; j < TILE_COLUMNS; ++j) {
            const float x = std::sqrt(square[j]);
            limit[j] = x < beyond ? a * x + b : INFINITE;
        }
    }
    // The same with factors in bfloat16; |x - x'|^2 = lost.
    void bounds_bf16(const float* square, const float* lost, float* limit) const {
        const double unseen = std::sqrt(depth) * UNSEEN;
        const double roundings = 2 * std::min((depth + 1) / 2, DEPTH_BLOCK) + (depth + 2 * DEPTH_BLOCK - 1) / (2 * DEPTH_BLOCK) + 7;
        const double by_norm = lost_norm + roundings * U * rounded_norm, by_lost = by_norm + norm; // |x'| <= |x| + |x - x'|
        const float a = static_cast<float>(2.02 * by_norm), b = static_cast<float>(2.02 * by_lost);
        const float rest = static_cast<float>(2.02 * ((by_norm + by_lost) * unseen + 8 * U * largest_half + (depth + 8) * 4.8e-38));
        const float beyond = first_unsafe_norm();
        for (int j = 0; j < TILE_COLUMNS; ++j) {
            const float x = std::sqrt(square[j]), y = std::sqrt(lost[j]);
            limit[j] = x < beyond ? a * x + b * y + rest : INFINITE;
        }
    }

private:
    // A row of at least this norm may overflow float32 on its way; also one whose norm is NaN is not below it.
    float first_unsafe_norm() const {
        const double beyond = (1e38 - largest_half) / (norm + rounded_norm + 1e-30);
        return static_cast<float>(std::min(beyond, 1e38));
    }

#if LUSS_HAS_BF16
    void round_panels(const float* c) {
        const int words = bf16_words(depth);
        bf16.assign(static_cast<size_t>(panels) * ROWS * words, 0);
        for (int j = 0; j < count; ++j) {
            const float* from = c + static_cast<size_t>(j) * depth;
            vf squares = {}, lost = {};
            for (int start = 0; start < depth; start += 2 * LANES) {
                const vf pairs = rounded_words(from + start, depth - start, squares, lost);
                for (int w = 0; w < LANES && start / 2 + w < words; ++w) bf16[place_in_rows<ROWS>(panels, words, j, start / 2 + w)] = pairs[w];
            }
            const double square = sum_of(squares), lost_square = sum_of(lost), unseen = std::sqrt(depth) * UNSEEN;
            if (half_norm[j] != half_norm[j] || std::isinf(half_norm[j]) || square != square) continue;
            lost_norm = std::max(lost_norm, std::sqrt(lost_square) + unseen);
            rounded_norm = std::max(rounded_norm, std::sqrt(square) + std::sqrt(lost_square) + 2 * unseen); // |c'| <= |c| + |c - c'|
        }
    }
#endif
};

} // namespace luss
