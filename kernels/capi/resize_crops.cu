#include "capi/records.h"
#include "luss/resize_crops.cuh"

extern "C" int luss_resize_crops(const uint8_t* pixels, const luss_image_record* images, const luss_cut_record* cuts, const int32_t* axes,
                                 const int32_t* taps, int n, int height, int width, const float* scale, const float* shift, int out_type, void* out,
                                 void* stream) {
    luss::capi::checks given("resize_crops");
    given.range("n", n, 0, INT32_MAX).range("height", height, 1, 32767).range("width", width, 1, 32767).type("out_type", out_type);
    given.below("n * ceil(height / 32) * ceil(width / 32)", 1.0 * n * ((height + 31) / 32) * ((width + 31) / 32), 2147483648.0);
    given.array("pixels", pixels, n, 1).array("images", images, n, 8).array("cuts", cuts, n, 4).array("axes", axes, n, 4).array("taps", taps, n, 4);
    given.host("scale", scale).host("shift", shift).array("out", out, n, out_type == LUSS_FLOAT32 ? 4 : 2);
    if (!given.good() || n == 0) return given.code();
    luss::level_scale norm;
    for (int c = 0; c < 3; ++c) norm.scale[c] = scale[c], norm.shift[c] = shift[c];
    const luss_cut_axes* places = reinterpret_cast<const luss_cut_axes*>(axes);
    const auto run = [&](auto* to) {
        return luss::resize_crops(pixels, luss::capi::images(images), luss::capi::cuts(cuts), places, taps, n, height, width, norm, to,
                                  static_cast<cudaStream_t>(stream));
    };
    return given.launch([&] { return out_type == LUSS_FLOAT32 ? run(static_cast<float*>(out)) : run(static_cast<__half*>(out)); });
}
