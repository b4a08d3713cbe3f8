/* An orthogonal map that spreads what few numbers of a vector hold over many: signs, then Walsh-Hadamard transforms of blocks. Products of two
   vectors that both went through it stay as they are; the largest number of most falls to 3 to 4 times their mean, and with it the steps of a
   rounding to bytes. */
#pragma once
#include <cmath>
#include <vector>

#include "lanes.h"

namespace luss {

struct rotation {
    int length, block;         // numbers of a vector, zeros included; of a transform: the largest power of two that divides it
    float scale;               // 1 / sqrt(block)
    std::vector<float> signs;  // 1 and -1

    explicit rotation(int length) : length(length), block(length & -length), scale(static_cast<float>(1 / std::sqrt(block))), signs(length) {
        uint32_t state = 1;
        for (float& sign : signs) {
            state = state * 1664525u + 1013904223u; // Numerical Recipes' generator; any fixed signs will do
            sign = state >> 31 ? 1.f : -1.f;
        }
    }

    // In float32 every level rounds each number once; so do the signs' difference, the scale, and the scale's own value.
    double roundings() const { return std::log2(block) + 4; }

    // All but signs and scale, in place.
    void spread(double* v) const {
        for (int step = 1; step < block; step *= 2) stride_apart(v, step);
    }
#if defined(__AVX512BW__)
    void spread(float* v) const {
        for (int at = 0; at < length; at += LANES) {
            __m512 y = _mm512_loadu_ps(v + at); // block is at least LANES
            y = butterfly<0xaaaa>(y, _mm512_permute_ps(y, 0xb1));
            y = butterfly<0xcccc>(y, _mm512_permute_ps(y, 0x4e));
            y = butterfly<0xf0f0>(y, _mm512_shuffle_f32x4(y, y, 0xb1));
            y = butterfly<0xff00>(y, _mm512_shuffle_f32x4(y, y, 0x4e));
            _mm512_storeu_ps(v + at, y);
        }
        for (int step = LANES; step < block; step *= 2) stride_apart(v, step);
    }
#endif

private:
    template <class F> void stride_apart(F* v, int step) const {
        for (int first = 0; first < length; first += 2 * step)
            for (int i = first; i < first + step; ++i) {
                const F a = v[i], b = v[i + step];
                v[i] = a + b;
                v[i + step] = a - b;
            }
    }
#if defined(__AVX512BW__)
    // The sum of a lane and its partner; in the lanes MINUS, the partner less the lane.
    template <int MINUS> static __m512 butterfly(__m512 y, __m512 partner) {
        return _mm512_mask_sub_ps(_mm512_add_ps(y, partner), MINUS, partner, y);
    }
#endif
};

} // namespace luss
