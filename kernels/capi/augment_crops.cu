#include "capi/records.h"
#include "luss/augment_crops.cuh"

/* scratch: (n,) sums of 8 bytes, the numbers of luss::crop_table, then (n, 3, height, width) bytes */
extern "C" size_t luss_augment_crops_scratch(int n, int height, int width, int taps) {
    if (n <= 0 || height <= 0 || width <= 0 || taps <= 0) return 0;
    const luss::crop_table table = {nullptr, n, height, width, taps};
    return static_cast<size_t>(n) * (8 + 3 * static_cast<size_t>(height) * width) + sizeof(int32_t) * static_cast<size_t>(table.size());
}

extern "C" int luss_augment_crops(const uint8_t* pixels, const luss_image_record* images, const luss_crop_record* crops, int n, int height, int width,
                                  int taps, float largest_blur, const float* scale, const float* shift, int out_type, void* out, void* scratch,
                                  size_t scratch_bytes, void* stream) {
    luss::capi::checks given("augment_crops");
    given.range("n", n, 0, INT32_MAX).range("height", height, 1, 32767).range("width", width, 1, 32767).range("taps", taps, 3, INT32_MAX);
    given.between("largest_blur", largest_blur, 0, 8).type("out_type", out_type);
    given.below("n * ceil(height / 32) * ceil(width / 32)", 1.0 * n * ((height + 31) / 32) * ((width + 31) / 32), 2147483648.0);
    given.below("(taps + 2) * (height + width)", (taps + 2.0) * (height + width), 2147483648.0); // places in a crop's table are int
    given.array("pixels", pixels, n, 1).array("images", images, n, 8).array("crops", crops, n, 4).host("scale", scale).host("shift", shift);
    given.array("out", out, n, out_type == LUSS_FLOAT32 ? 4 : 2).scratch(scratch, scratch_bytes, luss_augment_crops_scratch(n, height, width, taps));
    if (!given.good() || n == 0) return given.code();
    luss::level_scale norm;
    for (int c = 0; c < 3; ++c) norm.scale[c] = scale[c], norm.shift[c] = shift[c];
    unsigned long long* sums = static_cast<unsigned long long*>(scratch);
    int32_t* numbers = reinterpret_cast<int32_t*>(sums + n);
    uint8_t* planes = reinterpret_cast<uint8_t*>(numbers + luss::crop_table{nullptr, n, height, width, taps}.size());
    const auto run = [&](auto* to) {
        return luss::augment_crops(pixels, luss::capi::images(images), luss::capi::crops(crops), n, height, width, taps, largest_blur, norm,
                                   numbers, planes, sums, to, static_cast<cudaStream_t>(stream));
    };
    return given.launch([&] { return out_type == LUSS_FLOAT32 ? run(static_cast<float*>(out)) : run(static_cast<__half*>(out)); });
}
