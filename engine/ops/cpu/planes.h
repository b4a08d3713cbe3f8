// The levels of a crop between the steps of its making.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace luss {

constexpr int BLOCK = 16; // rows that are worked on at a time, and the unit of a line's length

inline int whole_blocks(int length) { return (length + BLOCK - 1) / BLOCK * BLOCK; }

// Rows of three lines, one a channel. A line is `stride` bytes long: the width in whole blocks; there are whole blocks of rows, too. What lies past
// width and height is nobody's.
struct Planes {
    int height = 0, width = 0, stride = 0;
    std::vector<uint8_t> bytes;

    void shape(int h, int w) {
        height = h, width = w, stride = whole_blocks(w);
        bytes.resize(static_cast<size_t>(whole_blocks(h)) * pitch());
    }
    size_t pitch() const { return static_cast<size_t>(3) * stride; }
    uint8_t* line(int y) { return bytes.data() + y * pitch(); }
    void made(int) {}
};

} // namespace luss
