#include "luss/fixed_sums.cuh"
#include "capi/checks.h"

static constexpr int64_t MOST_FIXED_ROWS = 0x7ffffffe, MOST_FIXED_COLUMNS = 65535 * luss::SUM_COLUMNS;

extern "C" size_t luss_fixed_sums_scratch(int64_t n, int d, int k, int r) {
    const bool fits = n >= 0 && n <= MOST_FIXED_ROWS && d >= 1 && d <= MOST_FIXED_COLUMNS && k >= 1 && k <= luss::SUMS_MAX_K && r >= 1;
    return fits && r <= luss::FIXED_MAX_SETS ? luss::fixed_sums_scratch(n, d, k, r) : 0;
}

extern "C" int luss_fixed_sums(const void* x, int x_type, const int32_t* label, int64_t n, int d, int k, int r, int bits, int64_t* sums,
                               int64_t* counts, void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("fixed_sums");
    given.type("x_type", x_type).range("n", n, 0, MOST_FIXED_ROWS).range("d", d, 1, MOST_FIXED_COLUMNS).range("k", k, 1, luss::SUMS_MAX_K);
    given.range("r", r, 1, luss::FIXED_MAX_SETS).range("bits", bits, 0, luss::FIXED_MAX_BITS);
    given.array("x", x, n, x_type == LUSS_FLOAT32 ? 4 : 2).array("label", label, n, 4).array("sums", sums, 1, 8).array("counts", counts, 1, 8);
    given.scratch(scratch, scratch_bytes, luss_fixed_sums_scratch(n, d, k, r), 256);
    return given.launch([&] { // with n == 0, too: sums and counts become 0
        return luss::fixed_sums(x, x_type == LUSS_FLOAT16, label, n, d, k, r, bits, sums, counts, scratch, scratch_bytes,
                                static_cast<cudaStream_t>(stream));
    });
}
