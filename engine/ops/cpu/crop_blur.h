// Gaussian blur of the planes of a crop, edges replicated: the filter and its fixed point are luss/blur_taps.h's. Rows first, then columns
// with 16 bits in between; rounded to 8 bits once, at the end (Pillow rounds after each of its six passes).
#pragma once
#include "crop_resize.h"
#include "luss/blur_taps.h"

namespace luss {

struct Blur {
    int radius = 0;
    std::vector<uint16_t> weights; // [0] the centre; of 2^16
    std::vector<uint16_t> row;
    Planes result;

    void make(float sigma) {
        const box_filter box = make_box(sigma);
        radius = blur_radius(box);
        weights.resize(radius + 1);
        for (int k = 0; k <= radius; ++k) weights[k] = static_cast<uint16_t>(blur_weight(box, k));
        while (radius > 0 && weights[radius] == 0) --radius;
    }

    static uint16_t scaled(unsigned value, unsigned weight) { return static_cast<uint16_t>(value * weight >> 16); }

    void run(Planes& planes, int count) {
        const int width = planes.width, height = planes.height, stride = planes.stride;
        result.shape(height, width);
        row.resize(stride + 2 * radius + 64);
        uint16_t* const line = row.data() + radius;
        const uint16_t bias = static_cast<uint16_t>(blur_bias(radius));
        for (int c = 0; c < count; ++c) {
            const uint8_t* source = planes.plane(c);
            for (int y = 0; y < height; ++y) {
                const uint8_t* middle = source + static_cast<size_t>(y) * stride;
#pragma omp simd
                for (int x = 0; x < width; ++x) line[x] = static_cast<uint16_t>(bias + scaled(static_cast<uint16_t>(middle[x] << BLUR_FRACTION), weights[0]));
                for (int k = 1; k <= radius; ++k) {
                    const uint8_t* above = source + static_cast<size_t>(std::max(y - k, 0)) * stride;
                    const uint8_t* below = source + static_cast<size_t>(std::min(y + k, height - 1)) * stride;
                    const uint16_t weight = weights[k];
#pragma omp simd
                    for (int x = 0; x < width; ++x)
                        line[x] = static_cast<uint16_t>(line[x] + scaled(static_cast<uint16_t>((above[x] + below[x]) << BLUR_FRACTION), weight));
                }
                for (int k = 1; k <= radius; ++k) line[-k] = line[0], line[width - 1 + k] = line[width - 1];
                horizontal(line, width, bias, result.plane(c) + static_cast<size_t>(y) * stride);
            }
        }
    }

    void horizontal(const uint16_t* __restrict line, int width, uint16_t bias, uint8_t* __restrict out) const {
        constexpr int TILE = 32;
        for (int x0 = 0; x0 < width; x0 += TILE) { // reads up to TILE - 1 words past the line's end, which `row` has
            uint16_t sum[TILE];
            const uint16_t start = static_cast<uint16_t>(bias + (1 << (BLUR_FRACTION - 1)));
#pragma omp simd
            for (int i = 0; i < TILE; ++i) sum[i] = static_cast<uint16_t>(start + scaled(line[x0 + i], weights[0]));
            for (int k = 1; k <= radius; ++k) {
                const uint16_t weight = weights[k];
#pragma omp simd
                for (int i = 0; i < TILE; ++i)
                    sum[i] = static_cast<uint16_t>(sum[i] + scaled(static_cast<uint16_t>(line[x0 + i - k] + line[x0 + i + k]), weight));
            }
            const int valid = std::min(TILE, width - x0);
            for (int i = 0; i < valid; ++i) out[x0 + i] = static_cast<uint8_t>(std::min(sum[i] >> BLUR_FRACTION, 255));
        }
    }
};

} // namespace luss
