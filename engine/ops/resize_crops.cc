// CPU path of engine.ops.resize_crops: one cut a thread at a time, nothing shared, so the result does not depend on the threads. And the
// tables of its CUDA path. All arguments were checked by the caller.
#include <exception>

#include "cpu/fixed_resize.h"
#include "cpu/level_output.h"
#include "cpu/tap_table.h"

namespace {

luss::FixedAxis down_axis(const luss_image* images, const luss_cut& cut, int height) {
    return {images[cut.image].height, cut.height, cut.top, height};
}

luss::FixedAxis across_axis(const luss_image* images, const luss_cut& cut, int width) {
    return {images[cut.image].width, cut.width, cut.left, width};
}

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
            const auto write = [&](int y, const uint8_t* line) { out.write(i, y, line, resizer.stride); };
            try {
                resizer.run(pixels + images[cuts[i].image].offset, down_axis(images, cuts[i], height), across_axis(images, cuts[i], width), write);
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
            if (axes) axes[i] = {static_cast<int32_t>(at_down), static_cast<int32_t>(at_across), luss::down_before_across(down, across)};
        }
        return taps.size();
    } catch (const std::exception&) {
        return -1;
    }
}
