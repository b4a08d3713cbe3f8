#include "capi/records.h"
#include "luss/augment_crops.cuh"

/* scratch: (n,) sums of 8 bytes, then (n, 3, height, width) bytes */
extern "C" size_t luss_augment_crops_scratch(int n, int height, int width) {
    return n <= 0 || height <= 0 || width <= 0 ? 0 : static_cast<size_t>(n) * (8 + 3 * static_cast<size_t>(height) * width);
}

extern "C" int luss_augment_crops(const uint8_t* pixels, const luss_image_record* images, const luss_crop_record* crops, int n, int height, int width,
                                  int bleed, float largest_blur, const float* scale, const float* shift, int out_type, void* out, void* scratch,
                                  size_t scratch_bytes, void* stream) {
    luss::capi::checks given("augment_crops");
    given.range("n", n, 0, INT32_MAX).range("height", height, 1, 32767).range("width", width, 1, 32767).range("bleed", bleed, 0, 1);
    given.between("largest_blur", largest_blur, 0, 8).type("out_type", out_type);
    given.below("n * ceil(height / 8) * ceil(width / 32)", 1.0 * n * ((height + 7) / 8) * ((width + 31) / 32), 2147483648.0);
    given.array("pixels", pixels, n, 1).array("images", images, n, 8).array("crops", crops, n, 4).host("scale", scale).host("shift", shift);
    given.array("out", out, n, out_type == LUSS_FLOAT32 ? 4 : 2).scratch(scratch, scratch_bytes, luss_augment_crops_scratch(n, height, width));
    if (!given.good() || n == 0) return given.code();
    luss::channels norm;
    for (int c = 0; c < 3; ++c) norm.scale[c] = scale[c], norm.shift[c] = shift[c];
    unsigned long long* sums = static_cast<unsigned long long*>(scratch);
    uint8_t* planes = reinterpret_cast<uint8_t*>(sums + n);
    const auto run = [&](auto* to) {
        return luss::augment_crops(pixels, luss::capi::images(images), luss::capi::crops(crops), n, height, width, bleed, largest_blur, norm, planes,
                                   sums, to, static_cast<cudaStream_t>(stream));
    };
    return given.launch([&] { return out_type == LUSS_FLOAT32 ? run(static_cast<float*>(out)) : run(static_cast<__half*>(out)); });
}
