// CPU path of engine.ops.augment_crops: one crop a thread at a time, nothing shared, so the result does not depend on the threads.
// Phases over 8-bit planes that stay in the second-level cache: cpu/crop_resize.h, crop_colour.h, crop_blur.h; only the last writes floats.
#include <algorithm>
#include <exception>
#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "cpu/crop_blur.h"
#include "cpu/crop_colour.h"

namespace {

using namespace luss;

enum Type { FLOAT32, FLOAT16, BYTES };

struct Worker {
    Resizer resizer;
    Blur blur;
    Planes planes;
};

// What is written: value * scale[c] + shift[c] per channel; `halves` is the same for the 256 levels, as float16.
struct Output {
    int type, height, width;
    const float *scale, *shift;
    const uint16_t* halves;
    void* data;
};

void write_floats(const uint8_t* __restrict row, int width, float scale, float shift, float* __restrict out) {
#pragma omp simd
    for (int x = 0; x < width; ++x) out[x] = static_cast<float>(row[x]) * scale + shift;
}

void write_halves(const uint8_t* row, int width, float scale, float shift, const uint16_t* table, uint16_t* out) {
    int x = 0;
#if defined(__F16C__)
    for (; x + 8 <= width; x += 8) {
        const __m256i whole = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(row + x)));
        const __m256 value = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(whole), _mm256_set1_ps(scale)), _mm256_set1_ps(shift));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
    }
#endif
    for (; x < width; ++x) out[x] = table[row[x]];
}

void write_bytes(const uint8_t* __restrict r, const uint8_t* __restrict g, const uint8_t* __restrict b, int width, uint8_t* __restrict out) {
    for (int x = 0; x < width; ++x) out[3 * x] = r[x], out[3 * x + 1] = g[x], out[3 * x + 2] = b[x];
}

void write(Planes& planes, bool grey, const Output& out, int64_t number) {
    const size_t area = static_cast<size_t>(out.height) * out.width, first = 3 * area * number;
    for (int c = 0; c < (out.type == BYTES ? 1 : 3); ++c)
        for (int y = 0; y < out.height; ++y) {
            const auto row = [&](int channel) { return planes.plane(grey ? 0 : channel) + static_cast<size_t>(y) * planes.stride; };
            const size_t at = first + area * c + static_cast<size_t>(y) * out.width;
            if (out.type == FLOAT32) {
                write_floats(row(c), out.width, out.scale[c], out.shift[c], static_cast<float*>(out.data) + at);
            } else if (out.type == FLOAT16) {
                write_halves(row(c), out.width, out.scale[c], out.shift[c], out.halves + 256 * c, static_cast<uint16_t*>(out.data) + at);
            } else {
                write_bytes(row(0), row(1), row(2), out.width, static_cast<uint8_t*>(out.data) + first + static_cast<size_t>(3) * y * out.width);
            }
        }
}

void make_crop(Worker& worker, const uint8_t* pixels, int64_t length, const luss_image& image, const luss_crop& crop, bool bleed, const Output& out,
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
    const Output out = {type, height, width, scale, shift, halves, data};
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
