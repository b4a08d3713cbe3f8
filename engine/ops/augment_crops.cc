// CPU path of engine.ops.augment_crops: one crop a thread at a time, nothing shared, so the result does not depend on the threads.
// Phases over 8-bit planes that stay in the second-level cache: cpu/crop_resize.h, crop_colour.h, crop_blur.h; only the last writes floats.
#include <algorithm>
#include <exception>

#include "cpu/crop_blur.h"
#include "cpu/crop_colour.h"
#include "cpu/level_output.h"

namespace {

using namespace luss;

struct Worker {
    Resizer resizer;
    Blur blur;
    Planes planes;
};

void write(Planes& planes, bool grey, const LevelOutput& out, int64_t number) {
    const size_t between = planes.plane(1) - planes.plane(0);
    for (int y = 0; y < out.height; ++y) out.write(number, y, planes.plane(0) + static_cast<size_t>(y) * planes.stride, grey ? 0 : between);
}

void make_crop(Worker& worker, const uint8_t* pixels, int64_t length, const luss_image& image, const luss_crop& crop, bool bleed, const LevelOutput& out,
               int64_t number) {
    worker.planes.shape(out.height, out.width);
    worker.resizer.run(pixels + image.offset, image, pixels + length, crop, bleed, worker.planes);
    Colour(crop).run(worker.planes);
    if (crop.blur > 0) {
        worker.blur.make(crop.blur);
        worker.blur.run(worker.planes, crop.grey ? 1 : 3);
        write(worker.blur.result, crop.grey, out, number);
    } else {
        write(worker.planes, crop.grey, out, number);
    }
}

} // namespace

// All arguments were checked by the caller. Returns 0, or 1 where memory ran out.
extern "C" int luss_augment_crops_cpu(const uint8_t* pixels, int64_t length, const luss_image* images, const luss_crop* crops, int64_t count,
                                      int height, int width, int bleed, int type, const float* scale, const float* shift, const uint16_t* halves,
                                      void* data, int threads) {
    const LevelOutput out = {type, height, width, scale, shift, halves, data};
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        Worker worker;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; ++i) {
            try {
                make_crop(worker, pixels, length, images[crops[i].image], crops[i], bleed, out, i);
            } catch (const std::exception&) { // must not leave the parallel block
#pragma omp atomic write
                failed = 1;
            }
        }
    }
    return failed;
}
