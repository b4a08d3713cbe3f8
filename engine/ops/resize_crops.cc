// CPU path of engine.ops.resize_crops: one cut a thread at a time, nothing shared, so the result does not depend on the threads. And the
// tables of its CUDA path. All arguments were checked by the caller.
#include <exception>

#include "cpu/fixed_resize.h"
#include "cpu/level_output.h"
#include "cpu/tap_table.h"

namespace {

luss::FixedAxis whole_axis(int extent, int out, int begin, int length) {
    return {luss_part_axis(extent, out, 0, static_cast<float>(extent)), begin, length, false};
}

luss::FixedAxis down_axis(const luss_image* images, const luss_cut& cut, int height) {
    return whole_axis(images[cut.image].height, cut.height, cut.top, height);
}

luss::FixedAxis across_axis(const luss_image* images, const luss_cut& cut, int width) {
    return whole_axis(images[cut.image].width, cut.width, cut.left, width);
}

// A block of lines, each written out as soon as it is made.
struct Written {
    const luss::LevelOutput& out;
    size_t stride;
    std::vector<uint8_t> lines;
    int64_t number = 0;

    explicit Written(const luss::LevelOutput& output)
        : out(output), stride(static_cast<size_t>(luss::whole_blocks(output.width))), lines(3 * stride * luss::BLOCK) {}
    uint8_t* line(int y) { return &lines[3 * stride * (y % luss::BLOCK)]; }
    void made(int y) { out.write(number, y, line(y), stride); }
};

} // namespace

// Returns 0, or 1 where memory ran out.
extern "C" int luss_resize_crops_cpu(const uint8_t* pixels, const luss_image* images, const luss_cut* cuts, int64_t count, int height, int width,
                                     int type, const float* scale, const float* shift, const uint16_t* halves, void* data, int threads) {
    const luss::LevelOutput out = {type, height, width, scale, shift, halves, data};
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        luss::FixedResizer resizer;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; ++i) {
            try {
                Written lines(out);
                lines.number = i;
                const luss_image& image = images[cuts[i].image];
                resizer.run(pixels + image.offset, static_cast<size_t>(3) * image.width, down_axis(images, cuts[i], height),
                            across_axis(images, cuts[i], width), lines);
            } catch (const std::exception&) { // must not leave the parallel block
#pragma omp atomic write
                failed = 1;
            }
        }
    }
    return failed;
}

// Numbers in the table of these cuts, -1 where memory ran out; `axes` (count,) and `table` are filled unless they are null.
extern "C" int64_t luss_resize_crops_taps(const luss_image* images, const luss_cut* cuts, int64_t count, int height, int width,
                                          luss_cut_axes* axes, int32_t* table) {
    try {
        luss::TapTable taps(table);
        for (int64_t i = 0; i < count; ++i) {
            const luss::FixedAxis down = down_axis(images, cuts[i], height), across = across_axis(images, cuts[i], width);
            const int64_t at_down = taps.add(down), at_across = taps.add(across);
            if (axes) axes[i] = {static_cast<int32_t>(at_down), static_cast<int32_t>(at_across), luss_columns_first(down.axis, across.axis)};
        }
        return taps.size();
    } catch (const std::exception&) {
        return -1;
    }
}
