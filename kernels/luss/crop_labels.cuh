/* Crops of label maps: a look-up along rows and columns that the host has chosen.                          hot path I1, input
   maps (bytes,), of uint16 (height, width) maps, each from its even offset on;  records (m,) luss_image;  numbers (n,) int32: whose map;
   rows (n, h), columns (n, w) int32 inside that map;  out (n, h, w) int32.  Nothing is checked here.  Gradient: none (whole numbers).
   Least traffic: 4 h w written, the touched pixels read once, at most 2 h w, and 4 (h + w) of indices; nothing else is moved.
   Versions: v1, this one: a warp walks along a result row, so writes are whole lines and reads of one map row. Not timed: no GPU at hand.
   sm_75 and later; no shared memory. */
#pragma once
#include <cstdint>

#include "luss/crop_table.h"
#include "luss/launch.h"

namespace luss {

constexpr int LABEL_COLUMNS = 32, LABEL_ROWS = 8;

__global__ void __launch_bounds__(LABEL_COLUMNS * LABEL_ROWS) crop_labels_kernel(const uint8_t* __restrict__ maps, const luss_image* __restrict__ records,
                                                                               const int32_t* __restrict__ numbers,
                                                                               const int32_t* __restrict__ rows,
                                                                               const int32_t* __restrict__ columns, int64_t lines, int height,
                                                                               int width, int32_t* __restrict__ out) {
    const int64_t line = static_cast<int64_t>(blockIdx.x) * LABEL_ROWS + threadIdx.y; // of all result rows
    if (line >= lines) return;
    const int64_t crop = line / height;
    const luss_image record = records[numbers[crop]];
    const uint16_t* from = reinterpret_cast<const uint16_t*>(maps + record.offset) + static_cast<int64_t>(rows[line]) * record.width;
    for (int x = threadIdx.x; x < width; x += LABEL_COLUMNS) out[line * width + x] = from[columns[crop * width + x]];
}

/* On `stream`; nothing waits. n may be 0. Returns the launch's error. */
inline cudaError_t crop_labels(const uint8_t* maps, const luss_image* records, const int32_t* numbers, const int32_t* rows, const int32_t* columns,
                               int n, int height, int width, int32_t* out, cudaStream_t stream) {
    if (n == 0) return cudaSuccess;
    const int64_t lines = static_cast<int64_t>(n) * height;
    const dim3 grid(static_cast<unsigned>((lines + LABEL_ROWS - 1) / LABEL_ROWS)), block(LABEL_COLUMNS, LABEL_ROWS);
    LUSS_LAUNCH(crop_labels_kernel, grid, block, 0, stream, maps, records, numbers, rows, columns, lines, height, width, out);
    return cudaGetLastError();
}

} // namespace luss
