#include "luss/unit_rows.cuh"
#include "capi/checks.h"

extern "C" int luss_unit_rows(const void* x, int x_type, int64_t n, int d, float* out, double* squares, void* stream) {
    luss::capi::checks given("unit_rows");
    given.type("x_type", x_type).range("n", n, 0, INT64_MAX / 65536).range("d", d, 1, INT32_MAX - 31);
    given.array("x", x, n, x_type == LUSS_FLOAT32 ? 4 : 2).array("squares", squares, n, 8);
    if (out != nullptr) given.array("out", out, n, 4);
    return given.launch([&] { return luss::unit_rows(x, x_type == LUSS_FLOAT16, n, d, out, squares, static_cast<cudaStream_t>(stream)); });
}
