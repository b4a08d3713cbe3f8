#include "capi/records.h"
#include "luss/crop_labels.cuh"

extern "C" int luss_crop_labels(const uint8_t* maps, const luss_image_record* records, const int32_t* numbers, const int32_t* rows,
                                const int32_t* columns, int n, int height, int width, int32_t* out, void* stream) {
    luss::capi::checks given("crop_labels");
    given.range("n", n, 0, INT32_MAX).range("height", height, 1, INT32_MAX).range("width", width, 1, INT32_MAX);
    given.below("n * height", 1.0 * n * height, 17179869184.0);
    given.array("maps", maps, n, 2).array("records", records, n, 8).array("numbers", numbers, n, 4);
    given.array("rows", rows, n, 4).array("columns", columns, n, 4).array("out", out, n, 4);
    if (!given.good() || n == 0) return given.code();
    return given.launch([&] {
        return luss::crop_labels(maps, luss::capi::images(records), numbers, rows, columns, n, height, width, out, static_cast<cudaStream_t>(stream));
    });
}
