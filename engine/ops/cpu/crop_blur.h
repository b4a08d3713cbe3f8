// Gaussian blur of the planes of a crop; the arithmetic is luss/box_blur.h's. Each pass slides one sum along 16 lines at once: rows are transposed
// for it, 16 by 16 bytes, columns are not. What stands between the passes stays in the first-level cache.
#pragma once
#include <algorithm>
#include <vector>

#include "lanes.h"
#include "luss/box_blur.h"
#include "planes.h"

namespace luss {

class Blur {
  public:
    void run(Planes& planes, float sigma, int channels) {
        box_ = luss_make_box(sigma);
        if (box_.inner == 1u << 24) return; // nothing but the pixel itself
        const int width = planes.width, height = planes.height, stride = planes.stride;
        for (auto& room : rooms_) room.resize(static_cast<size_t>(BLOCK) * std::max(stride, height));
        for (int y = 0; y < height; y += BLOCK)
            for (int c = 0; c < channels; ++c) along_rows(planes.line(y) + static_cast<size_t>(c) * stride, planes.pitch(), width);
        for (int x = 0; x < channels * stride; x += BLOCK) {
            uint8_t* const top = planes.line(0) + x;
            pass(top, planes.pitch(), height, rooms_[0].data(), BLOCK);
            pass(rooms_[0].data(), BLOCK, height, rooms_[1].data(), BLOCK);
            pass(rooms_[1].data(), BLOCK, height, top, planes.pitch());
        }
    }

  private:
    luss_box box_;
    std::vector<uint8_t> rooms_[2]; // (length, BLOCK)

    void along_rows(uint8_t* lines, size_t pitch, int width) {
        uint8_t *const here = rooms_[0].data(), *const there = rooms_[1].data();
        for (int x = 0; x < width; x += BLOCK) turn(lines + x, pitch, here + x * BLOCK, BLOCK);
        pass(here, BLOCK, width, there, BLOCK);
        pass(there, BLOCK, width, here, BLOCK);
        pass(here, BLOCK, width, there, BLOCK);
        for (int x = 0; x < width; x += BLOCK) turn(there + x * BLOCK, BLOCK, lines + x, pitch);
    }

    static void turn(const uint8_t* in, size_t pitch, uint8_t* out, size_t out_pitch) {
        b16 tile[BLOCK];
        for (int i = 0; i < BLOCK; ++i) tile[i] = load<b16>(in + i * pitch);
        transpose<b16, b16, BLOCK>(tile);
        for (int i = 0; i < BLOCK; ++i) store(out + i * out_pitch, tile[i]);
    }

    // One box along `count` rows of BLOCK bytes each.
    void pass(const uint8_t* in, size_t step, int count, uint8_t* out, size_t out_step) const {
        const int radius = box_.radius, last = count - 1, head = std::min(radius + 1, count), tail = std::max(head, last - radius);
        const vi inner = static_cast<int32_t>(box_.inner) + vi{}, outer = static_cast<int32_t>(box_.outer) + vi{}, half = (1 << 23) + vi{};
        for (int part = 0; part < BLOCK; part += LANES, in += LANES, out += LANES) {
            const auto row = [=](int i) { return in + std::min(std::max(i, 0), last) * step; };
            vi inside = {};
            for (int k = -radius - 1; k < radius; ++k) inside += numbers(load<vb>(row(k))); // of the pixel before the first one
            vi entering = numbers(load<vb>(row(radius)));
            uint8_t* to = out;
            const auto slide = [&](const uint8_t* left, const uint8_t* right) {
                const vi behind = numbers(load<vb>(left)), ahead = numbers(load<vb>(right));
                inside += entering - behind;
                store(to, levels<24>(inside * inner + ((behind + ahead) * outer + half)));
                entering = ahead;
                to += out_step;
            };
            for (int i = 0; i < head; ++i) slide(row(i - radius - 1), row(i + radius + 1));
            const uint8_t *left = row(0), *right = left + (2 * static_cast<size_t>(radius) + 2) * step;
            for (int i = head; i < tail; ++i, left += step, right += step) slide(left, right);
            for (int i = tail; i < count; ++i) slide(row(i - radius - 1), row(i + radius + 1));
        }
    }
};

} // namespace luss
