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

namespace luss {

constexpr float INFINITE = std::numeric_limits<float>::infinity();
constexpr double U = 1.0 / (1 << 24);
constexpr double UNSEEN = 5.4e-23; // sqrt(d) of it: most that a norm can lose as squares below 2^-149 vanish

struct centroid_panels {
    int depth, count, panels;
    std::vector<float> fp32;       // (panels, depth, TILE_ROWS)
    std::vector<float> bf16;       // (panels, words, TILE_ROWS), where asked for
    std::vector<float> half_norm;  // h; infinite for the rows that fill up
    std::vector<double> exact_half_norm;
    double norm = 0, largest_half = 0, rounded_norm = 0, lost_norm = 0; // largest of the centroids that can win

    centroid_panels(const float* c, int k, int d, bool cosine, bool with_bf16) : depth(d), count(k), panels((k + TILE_ROWS - 1) / TILE_ROWS) {
        const size_t rows = static_cast<size_t>(panels) * TILE_ROWS;
        half_norm.assign(rows, INFINITE);
        exact_half_norm.resize(k);
        for (int j = 0; j < k; ++j) {
            double square = 0;
            for (int p = 0; p < d; ++p) square += static_cast<double>(c[static_cast<size_t>(j) * d + p]) * c[static_cast<size_t>(j) * d + p];
            exact_half_norm[j] = cosine ? 0 : 0.5 * square;
            half_norm[j] = static_cast<float>(exact_half_norm[j]);
            if (square != square || (!cosine && square == std::numeric_limits<double>::infinity())) continue;
            norm = std::max(norm, std::sqrt(square));
            largest_half = std::max(largest_half, exact_half_norm[j]);
        }
        fp32.resize(rows * d);
        pack_rows<TILE_ROWS>(c, d, k, d, fp32.data());
#if LUSS_HAS_BF16
        if (with_bf16) round_panels();
#else
        (void)with_bf16;
#endif
    }

    // E of a row with |x|^2 = square, in fp32.
    float bound(float square) const {
        const double x = std::sqrt(square) + std::sqrt(depth) * UNSEEN;
        const double roundings = ROUNDINGS * std::min(depth, DEPTH_BLOCK) + (depth + DEPTH_BLOCK - 1) / DEPTH_BLOCK + 7;
        return closed(x, roundings * U * x * norm, (depth + 8) * 2.9e-45);
    }
    // E with factors in bfloat16; |x - x'|^2 = lost.
    float bound_bf16(float square, float lost) const {
        const double x = std::sqrt(square) + std::sqrt(depth) * UNSEEN, rest = std::sqrt(lost) + std::sqrt(depth) * UNSEEN;
        const double roundings = 2 * std::min((depth + 1) / 2, DEPTH_BLOCK) + (depth + 2 * DEPTH_BLOCK - 1) / (2 * DEPTH_BLOCK) + 7;
        const double rounding = roundings * U * (x + rest) * rounded_norm;
        return closed(x, rest * norm + (x + rest) * lost_norm + rounding, (depth + 8) * 4.8e-38);
    }

private:
    float closed(double x, double products, double tiny) const {
        if (!(x * (norm + rounded_norm) + largest_half < 1e38)) return INFINITE;
        return static_cast<float>(1.01 * (products + 8 * U * largest_half + tiny));
    }

#if LUSS_HAS_BF16
    void round_panels() {
        const int words = bf16_words(depth);
        bf16.assign(static_cast<size_t>(panels) * TILE_ROWS * words, 0);
        for (int j = 0; j < count; ++j) {
            const float* panel = fp32.data() + static_cast<size_t>(j / TILE_ROWS) * TILE_ROWS * depth + j % TILE_ROWS;
            float* to = bf16.data() + static_cast<size_t>(j / TILE_ROWS) * TILE_ROWS * words + j % TILE_ROWS;
            double square = 0, lost_square = 0;
            for (int start = 0; start < depth; start += 2 * LANES) {
                float numbers[2 * LANES], rounded_pairs[LANES];
                const int have = std::min(2 * LANES, depth - start);
                for (int p = 0; p < have; ++p) numbers[p] = panel[static_cast<size_t>(start + p) * TILE_ROWS];
                vf unused = {}, unused_too = {};
                store(rounded_pairs, rounded_words(numbers, have, unused, unused_too));
                for (int w = 0; w < bf16_words(have); ++w) to[static_cast<size_t>(start / 2 + w) * TILE_ROWS] = rounded_pairs[w];
                for (int p = 0; p < have; ++p) {
                    uint32_t bits;
                    std::memcpy(&bits, rounded_pairs + p / 2, 4);
                    bits = p % 2 ? bits & 0xffff0000u : bits << 16;
                    float back;
                    std::memcpy(&back, &bits, 4);
                    square += static_cast<double>(back) * back;
                    lost_square += (static_cast<double>(numbers[p]) - back) * (static_cast<double>(numbers[p]) - back);
                }
            }
            if (half_norm[j] != half_norm[j] || std::isinf(half_norm[j]) || square != square) continue;
            rounded_norm = std::max(rounded_norm, std::sqrt(square));
            lost_norm = std::max(lost_norm, std::sqrt(lost_square));
        }
    }
#endif
};

} // namespace luss
