/* CPU path of engine.ops.unit_rows: a row is added up, scaled, and what was written is added up; the second and third time it comes from L1. Threads
   take stretches of rows.

   Order of additions: number p goes to sum p % 32, the 32 sums are then halved five times. It depends on d alone, and is the same on all processors
   and on CUDA (kernels/luss/unit_rows.cuh, where a warp's threads hold the 32 sums): squares of float32 numbers are exact in float64, so a fused and
   a plain multiply-add give the same. */
#include <algorithm>
#include <cmath>

#include "cpu/wide_lanes.h"
#include "luss/unit_rows.h"

namespace luss {
namespace {

static_assert(UNIT_ROW_SUMS % WIDE == 0, "whole vectors");

template <class T> inline void add_squares(const T* x, wide (&sums)[UNIT_ROW_SUMS / WIDE]) {
#pragma GCC unroll 16
    for (int v = 0; v < UNIT_ROW_SUMS / WIDE; ++v) {
        const wide numbers = wide_at(x + v * WIDE);
        sums[v] += numbers * numbers;
    }
}

template <class T> double row_squares(const T* x, int d) {
    wide sums[UNIT_ROW_SUMS / WIDE] = {};
    int p = 0;
    for (; p + UNIT_ROW_SUMS <= d; p += UNIT_ROW_SUMS) add_squares(x + p, sums);
    if (p < d) {
        T rest[UNIT_ROW_SUMS] = {};
        std::copy(x + p, x + d, rest);
        add_squares(rest, sums);
    }
    double sum[UNIT_ROW_SUMS];
    std::memcpy(sum, sums, sizeof sum);
    for (int width = UNIT_ROW_SUMS / 2; width >= 1; width /= 2)
        for (int i = 0; i < width; ++i) sum[i] += sum[i + width];
    return sum[0];
}

// `out` may be x.
template <class T> inline void scale_row(const T* x, double scale, int d, float* out) {
    int p = 0;
    for (; p + WIDE <= d; p += WIDE) store_narrow(out + p, wide_at(x + p) * scale);
    for (; p < d; ++p) out[p] = static_cast<float>(static_cast<double>(number(x[p])) * scale);
}

template <class T> void run(const T* x, int64_t n, int d, float* out, double* squares, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t i = 0; i < n; ++i) {
        const T* row = x + i * d;
        if (out == nullptr) {
            squares[i] = row_squares(row, d);
            continue;
        }
        scale_row(row, unit_row_scale(row_squares(row, d)), d, out + i * d);
        squares[i] = row_squares(out + i * d, d);
    }
}

} // namespace
} // namespace luss

// out null: squares of x itself. All arguments were checked by the caller.
extern "C" void luss_unit_rows_cpu(const void* x, int x_half, int64_t n, int d, float* out, double* squares, int threads) {
    if (x_half)
        luss::run(static_cast<const uint16_t*>(x), n, d, out, squares, threads);
    else
        luss::run(static_cast<const float*>(x), n, d, out, squares, threads);
}
