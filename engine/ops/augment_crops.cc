// CPU path of engine.ops.augment_crops: one crop a thread at a time, nothing shared, so the result does not depend on the threads.
// Phases over 8-bit planes that stay in the second-level cache: cpu/fixed_resize.h, crop_colour.h, crop_blur.h; only the last writes floats.
#include <exception>

#include "cpu/crop_blur.h"
#include "cpu/crop_colour.h"
#include "cpu/fixed_resize.h"
#include "cpu/level_output.h"

namespace {

using namespace luss;

struct Worker {
    FixedResizer resizer;
    Blur blur;
    Planes planes;
};

void make_crop(Worker& worker, const uint8_t* pixels, const luss_image& image, const luss_crop& crop, const LevelOutput& out, int64_t number) {
    Planes& planes = worker.planes;
    planes.shape(out.height, out.width);
    int32_t top, left;
    const FixedAxis down = {luss_box_axis(crop.top, crop.height, out.height, image.height, top), 0, out.height, false};
    const FixedAxis across = {luss_box_axis(crop.left, crop.width, out.width, image.width, left), 0, out.width, crop.flip != 0};
    const size_t pitch = static_cast<size_t>(3) * image.width;
    worker.resizer.run(pixels + image.offset + top * pitch + static_cast<size_t>(3) * left, pitch, down, across, planes);
    Colour(crop).run(planes);
    if (crop.blur > 0) worker.blur.run(planes, crop.blur, crop.grey ? 1 : 3);
    for (int y = 0; y < out.height; ++y) out.write(number, y, planes.line(y), crop.grey ? 0 : planes.stride);
}

} // namespace

// All arguments were checked by the caller. Returns 0, or 1 where memory ran out.
extern "C" int luss_augment_crops_cpu(const uint8_t* pixels, const luss_image* images, const luss_crop* crops, int64_t count, int height, int width,
                                      int type, const float* scale, const float* shift, const uint16_t* halves, void* data, int threads) {
    const LevelOutput out = {type, height, width, scale, shift, halves, data};
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Worker worker;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; ++i) {
            try {
                make_crop(worker, pixels, images[crops[i].image], crops[i], out, i);
            } catch (const std::exception&) { // must not leave the parallel block
#pragma omp atomic write
                failed = 1;
            }
        }
    }
    return failed;
}
