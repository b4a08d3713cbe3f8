// Pillow's GaussianBlur: three box blurs of fractional length, here as one symmetric filter of their composition, edges replicated.
// 16-bit fixed point with 7 bits below the level; the result is rounded to 8 bits once (Pillow rounds after each of its six passes).
#pragma once
#include <cmath>

#include "crop_resize.h"

namespace luss {

constexpr int FRACTION = 7;

struct Blur {
    int radius = 0;
    std::vector<uint16_t> weights; // [0] the centre; of 2^16
    std::vector<uint16_t> row;
    Planes result;

    void make(double sigma) {
        const double variance = sigma * sigma / 3, length = std::sqrt(12 * variance + 1), whole_radius = std::floor((length - 1) / 2);
        const double outer = (2 * whole_radius + 1) * (whole_radius * (whole_radius + 1) - 3 * variance) /
                             (6 * (variance - (whole_radius + 1) * (whole_radius + 1)));
        const int reach = static_cast<int>(whole_radius) + 1;
        std::vector<double> box(2 * reach + 1, 1 / (2 * (whole_radius + outer) + 1)), filter(1, 1.0);
        box.front() *= outer;
        box.back() *= outer;
        for (int pass = 0; pass < 3; ++pass) {
            std::vector<double> wider(filter.size() + 2 * reach, 0.0);
            for (size_t i = 0; i < filter.size(); ++i)
                for (size_t k = 0; k < box.size(); ++k) wider[i + k] += filter[i] * box[k];
            filter.swap(wider);
        }
        radius = 3 * reach;
        while (radius > 0 && filter[3 * reach - radius] * 65536 < 0.5) --radius;
        weights.resize(radius + 1);
        for (int k = 0; k <= radius; ++k) weights[k] = static_cast<uint16_t>(std::min(65535.0, filter[3 * reach - k] * 65536 + 0.5));
    }

    static uint16_t scaled(unsigned value, unsigned weight) { return static_cast<uint16_t>(value * weight >> 16); }

    void run(Planes& planes, int count) {
        const int width = planes.width, height = planes.height, stride = planes.stride;
        result.shape(height, width);
        row.resize(stride + 2 * radius + 64);
        uint16_t* const line = row.data() + radius;
        const uint16_t bias = static_cast<uint16_t>((radius + 1) / 2); // what cutting the products off loses on average
        for (int c = 0; c < count; ++c) {
            const uint8_t* source = planes.plane(c);
            for (int y = 0; y < height; ++y) {
                const uint8_t* middle = source + static_cast<size_t>(y) * stride;
#pragma omp simd
                for (int x = 0; x < width; ++x) line[x] = static_cast<uint16_t>(bias + scaled(static_cast<uint16_t>(middle[x] << FRACTION), weights[0]));
                for (int k = 1; k <= radius; ++k) {
                    const uint8_t* above = source + static_cast<size_t>(std::max(y - k, 0)) * stride;
                    const uint8_t* below = source + static_cast<size_t>(std::min(y + k, height - 1)) * stride;
                    const uint16_t weight = weights[k];
#pragma omp simd
                    for (int x = 0; x < width; ++x)
                        line[x] = static_cast<uint16_t>(line[x] + scaled(static_cast<uint16_t>((above[x] + below[x]) << FRACTION), weight));
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
            const uint16_t start = static_cast<uint16_t>(bias + (1 << (FRACTION - 1)));
#pragma omp simd
            for (int i = 0; i < TILE; ++i) sum[i] = static_cast<uint16_t>(start + scaled(line[x0 + i], weights[0]));
            for (int k = 1; k <= radius; ++k) {
                const uint16_t weight = weights[k];
#pragma omp simd
                for (int i = 0; i < TILE; ++i)
                    sum[i] = static_cast<uint16_t>(sum[i] + scaled(static_cast<uint16_t>(line[x0 + i - k] + line[x0 + i + k]), weight));
            }
            const int valid = std::min(TILE, width - x0);
            for (int i = 0; i < valid; ++i) out[x0 + i] = static_cast<uint8_t>(std::min(sum[i] >> FRACTION, 255));
        }
    }
};

} // namespace luss
