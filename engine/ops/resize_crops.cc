// CPU path of engine.ops.resize_crops: one cut a thread at a time, nothing shared, so the result does not depend on the threads.
#include <exception>

#include "cpu/fixed_resize.h"
#include "cpu/level_output.h"
#include "luss/crop_table.h"

// CUT of engine/ops/crop_table.py.
struct luss_cut {
    int32_t image, height, width, top, left;
};

// All arguments were checked by the caller. Returns 0, or 1 where memory ran out.
extern "C" int luss_resize_crops_cpu(const uint8_t* pixels, const luss_image* images, const luss_cut* cuts, int64_t count, int height,
                                     int width, int type, const float* scale, const float* shift, const uint16_t* halves, void* data, int threads) {
    const luss::LevelOutput out = {type, height, width, scale, shift, halves, data};
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        luss::FixedResizer resizer;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; ++i) {
            const luss_cut& cut = cuts[i];
            const luss_image& image = images[cut.image];
            const luss::FixedAxis down = {image.height, cut.height, cut.top, height}, across = {image.width, cut.width, cut.left, width};
            try {
                resizer.run(pixels + image.offset, down, across, [&](int y, const uint8_t* line) { out.write(i, y, line, resizer.stride); });
            } catch (const std::exception&) { // must not leave the parallel block
#pragma omp atomic write
                failed = 1;
            }
        }
    }
    return failed;
}
