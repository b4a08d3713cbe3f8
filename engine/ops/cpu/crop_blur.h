// Gaussian blur of the planes of a crop; the arithmetic is luss/box_blur.h's. Each pass slides one sum along 16 lines at once: rows are transposed
// for it, 16 by 16 bytes, columns are not. Between the passes stand 32-bit numbers, in the first-level cache: widening bytes and narrowing them
// again takes longer than all the arithmetic.
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
        const size_t size = static_cast<size_t>(BLOCK) * std::max(stride, height);
        for (auto& room : rooms_) room.resize(size);
        turned_.resize(size);
        for (int y = 0; y < height; y += BLOCK)
            for (int c = 0; c < channels; ++c) along_rows(planes.line(y) + static_cast<size_t>(c) * stride, planes.pitch(), width);
        for (int x = 0; x < channels * stride; x += BLOCK) {
            uint8_t* const top = planes.line(0) + x;
            passes(top, planes.pitch(), height, top, planes.pitch());
        }
    }

  private:
    luss_box box_;
    std::vector<uint32_t> rooms_[2]; // (length, BLOCK)
    std::vector<uint8_t> turned_;    // (length, BLOCK)

    void along_rows(uint8_t* lines, size_t pitch, int width) {
        uint8_t* const turned = turned_.data();
        for (int x = 0; x < width; x += BLOCK) turn(lines + x, pitch, turned + x * BLOCK, BLOCK);
        passes(turned, BLOCK, width, turned, BLOCK);
        for (int x = 0; x < width; x += BLOCK) turn(turned + x * BLOCK, BLOCK, lines + x, pitch);
    }

    void passes(const uint8_t* in, size_t step, int count, uint8_t* out, size_t out_step) {
        uint32_t *const here = rooms_[0].data(), *const there = rooms_[1].data();
        pass(in, step, count, here, BLOCK);
        pass(here, BLOCK, count, there, BLOCK);
        pass(there, BLOCK, count, out, out_step);
    }

    static void turn(const uint8_t* in, size_t pitch, uint8_t* out, size_t out_pitch) {
        b16 tile[BLOCK];
        for (int i = 0; i < BLOCK; ++i) tile[i] = load<b16>(in + i * pitch);
        transpose<b16, b16, BLOCK>(tile);
        for (int i = 0; i < BLOCK; ++i) store(out + i * out_pitch, tile[i]);
    }

    static vu get(const uint8_t* p) { return (vu)numbers(load<vb>(p)); }
    static vu get(const uint32_t* p) { return load<vu>(p); }
    static void put(uint8_t* p, vu sum) { store(p, levels<24>((vi)sum)); }
    static void put(uint32_t* p, vu sum) { store(p, sum >> 24); }

    // One box along `count` rows of BLOCK levels each.
    template <class In, class Out> void pass(const In* in, size_t step, int count, Out* out, size_t out_step) const {
        const int radius = box_.radius, last = count - 1, head = std::min(radius + 1, count), tail = std::max(head, last - radius);
        const vu inner = box_.inner + vu{}, outer = box_.outer + vu{}, half = (1u << 23) + vu{};
        for (int part = 0; part < BLOCK; part += LANES, in += LANES, out += LANES) {
            const auto row = [=](int i) { return in + std::min(std::max(i, 0), last) * step; };
            vu inside = {};
            for (int k = -radius - 1; k < radius; ++k) inside += get(row(k)); // of the pixel before the first one
            vu entering = get(row(radius));
            Out* to = out;
            const auto slide = [&](const In* left, const In* right) {
                const vu behind = get(left), ahead = get(right);
                inside += entering - behind;
                put(to, inside * inner + ((behind + ahead) * outer + half));
                entering = ahead;
                to += out_step;
            };
            for (int i = 0; i < head; ++i) slide(row(i - radius - 1), row(i + radius + 1));
            const In *left = row(0), *right = left + (2 * static_cast<size_t>(radius) + 2) * step;
            for (int i = head; i < tail; ++i, left += step, right += step) slide(left, right);
            for (int i = tail; i < count; ++i) slide(row(i - radius - 1), row(i + radius + 1));
        }
    }
};

} // namespace luss
