/* Label maps at image size from small maps of logits.                                                  hot paths U1, U2; spec/sampass.md K2, K4
   logits (n, classes, h, w) float32 or float16;  plans (n,) luss_label_plan;  attention (n, h', w') float32 or null;
   taps: scratch for the table, luss_tap, as many as luss_plan_labels says;  out: int32 maps (H, W), one after another.
   label = first_id + argmax over classes of the enlarged logit (luss/bilinear_taps.h: weights, order of rounding), ties: smallest class, NaN
   largest, the first one;  0 where the bilinearly enlarged attention < threshold.  Gradient: none.  Nothing is checked here.
   The same labels as the CPU path's (engine/ops/cpu/cell_argmax.h), except where a number is below 2^-126 and the card flushes it to 0.

   A cell is the set of pixels with the same first taps. In it a class lies between the smallest and largest of its 2 x 2 (two steps: 3 x 3)
   numbers, so it can win only if its largest reaches the largest of all classes' smallest (less rounding). A block has one row of up to 32
   cells: pass 1 finds the bound, pass 2 lists the candidates in shared memory, pass 3 enlarges these alone, a thread a pixel. A cell with more
   than CELL_LIST candidates, or with a number that is not finite, goes through all classes instead: right, and slower.

   Least traffic: the logits once and 4 bytes a pixel: 920 x 32 x 43 to 375 x 500: 5.1 + 0.75 MB = 9.5 us at 616 GB/s; direct, 2 x 920 x 187,500
   x 3 = 1.0 GFLOP = 77 us at 13.4 TFLOP/s. Least operations here: 7 comparisons a class and cell = 9 M, 6 a pixel and candidate = 6 M.
   Moved: each row of logits by two blocks and twice by each, of which DRAM sees one (a block's share is 242 KB, the row of blocks of an image
   15 MB at most, the second pass follows at once): L2 20 MB. Pass 3 reads its 4 numbers through L1; a warp's pixels lie in 3 to 4 cells.
   Expected on sm_75, not measured, no GPU at hand: pass 1 keeps 8 warps x 4 classes x 4 loads in flight in a block, 4 blocks an SM: 920 classes
   of 22 cells by 11 class lanes are 84 steps, 21 rounds of ~600 cycles = 9 us for the 64 blocks of one image, which 68 SMs run at once; pass 2
   the same from L2, 5 us; pass 3 ~3 us. About 20 us an image alone, 3 launches' latency included 25; in batches bound by L2, about 12.
   Versions: v1, this one. Considered: lanes of a warp = cells alone (at w = 11 a third of the lanes work); corners of candidates in shared
   memory (20 KB for what L1 holds anyway).  sm_75 and later; 6.5 KB static shared memory; 46 to 64 registers, 4 blocks an SM; no spills
   (12 bytes: float16, one step, sm_80). */
#pragma once
#include "luss/bilinear_taps.h"
#include "luss/label_plan.h"
#include "luss/launch.h"
#include "luss/number.cuh"

LUSS_BOTH float luss_number(__half x) { return luss::as_float(x); } // for bilinear_taps.h, which knows no __half

namespace luss {

constexpr int CELLS = 32;      // of a block, at most
constexpr int CELL_LIST = 48;  // candidates kept of a cell
constexpr int LABEL_THREADS = 256;
constexpr int LABEL_CHUNK = 1 << 30; // blocks of a launch, at most

/* The taps of one image's rows, columns, attention's rows, attention's columns. */
struct label_tables {
    const luss_tap *rows, *columns, *attention_rows, *attention_columns;
};
LUSS_BOTH label_tables tables_of(const luss_tap* taps, const luss_label_plan& plan) {
    label_tables t;
    t.rows = taps + plan.taps;
    t.columns = t.rows + plan.height;
    t.attention_rows = t.columns + plan.width;
    t.attention_columns = t.attention_rows + plan.height;
    return t;
}

/* The only launch that computes in double: one thread a row or column; `per_image` blocks share an image. */
__global__ void __launch_bounds__(LABEL_THREADS) label_taps_kernel(luss_label_task task, const luss_label_plan* __restrict__ plans, int per_image,
                                                                 luss_tap* __restrict__ taps) {
    const luss_label_plan plan = plans[blockIdx.x / per_image];
    const int sides = plan.height + plan.width, count = task.attention_height ? 2 * sides : sides;
    for (int at = blockIdx.x % per_image * LABEL_THREADS + threadIdx.x; at < count; at += per_image * LABEL_THREADS) {
        const bool of_attention = at >= sides;
        const int side = of_attention ? at - sides : at;
        const bool column = side >= plan.height;
        const int i = column ? side - plan.height : side, target = column ? plan.width : plan.height;
        const int small = column ? task.attention_width : task.attention_height, source = column ? task.width : task.height;
        const int middle = column ? task.middle_width : task.middle_height, grid = column ? plan.grid_width : plan.grid_height;
        taps[plan.taps + at] = of_attention ? luss_axis_tap(i, small, 0, target, target) : luss_axis_tap(i, source, middle, grid, target);
    }
}

/* First index of an ascending table whose first tap is at least `cell`. */
__device__ inline int first_pixel(const luss_tap* taps, int count, int cell) {
    int low = 0;
    while (low < count) {
        const int half = (low + count) / 2;
        if (taps[half].first < cell)
            low = half + 1;
        else
            count = half;
    }
    return low;
}

/* Bits of a finite float, ordered as the numbers; -0 and 0 are a step apart, which a bound can afford. */
__device__ inline int ordered(float x) {
    union {
        float value;
        int bits;
    } both;
    both.value = x;
    return both.bits < 0 ? both.bits ^ 0x7fffffff : both.bits;
}
__device__ inline float unordered(int key) {
    union {
        float value;
        int bits;
    } both;
    both.bits = key < 0 ? key ^ 0x7fffffff : key;
    return both.value;
}

/* Of the numbers of one class in one cell. */
struct cell_range {
    float low, top;
    uint32_t size; // bits of the largest size
};
template <int TAPS, class T> __device__ inline cell_range range_of(const T* __restrict__ x, const int (&down)[TAPS], const int (&across)[TAPS]) {
    cell_range range;
#pragma unroll
    for (int t = 0; t < TAPS; ++t)
#pragma unroll
        for (int s = 0; s < TAPS; ++s) {
            const float v = as_float(x[down[t] + across[s]]);
            const uint32_t size = luss_size_bits(v);
            const bool first = t == 0 && s == 0;
            range.low = first ? v : fminf(v, range.low);
            range.top = first ? v : fmaxf(v, range.top);
            range.size = first || size > range.size ? size : range.size;
        }
    return range;
}

template <int TAPS, class T>
__global__ void __launch_bounds__(LABEL_THREADS) upsample_argmax_kernel(const T* __restrict__ logits, luss_label_task task,
                                                                      const luss_label_plan* __restrict__ plans,
                                                                      const luss_tap* __restrict__ taps, const float* __restrict__ attention,
                                                                      int64_t first_block, int groups, int per_group, int32_t* __restrict__ out) {
    __shared__ int best_low[CELLS]; // ordered bits
    __shared__ int wild[CELLS];     // not 0: a number is not finite
    __shared__ int count[CELLS];    // of candidates; more than CELL_LIST are not in the list
    __shared__ int list[CELLS * CELL_LIST];
    __shared__ int range[4]; // pixel rows and columns of the block: first, end, first, end
    const int thread = threadIdx.x;
    const int64_t block = first_block + blockIdx.x;
    const int image = static_cast<int>(block / (static_cast<int64_t>(task.height) * groups));
    const int y = static_cast<int>(block / groups % task.height), first = static_cast<int>(block % groups) * per_group;
    const int cells = task.width - first < per_group ? task.width - first : per_group; // at least 1
    const luss_label_plan plan = plans[image];
    const label_tables table = tables_of(taps, plan);
    if (thread < 2) range[thread] = first_pixel(table.rows, plan.height, y + thread);
    if (thread >= 32 && thread < 34) range[thread - 30] = first_pixel(table.columns, plan.width, thread == 32 ? first : first + cells);
    if (thread < CELLS) best_low[thread] = ordered(-3.402823466e38f), wild[thread] = count[thread] = 0;
    __syncthreads();
    const int top_row = range[0], rows = range[1] - top_row, left = range[2], columns = range[3] - left;
    if (rows == 0 || columns == 0) return; // the whole block

    const int64_t plane = static_cast<int64_t>(task.height) * task.width;
    const T* map = logits + image * task.classes * plane;
    const int lanes = LABEL_THREADS / cells; // classes side by side; threads left over do nothing
    const int cell = thread % cells, lane = thread / cells;
    int down[TAPS], across[TAPS]; // offsets of the numbers, clamped to the map
#pragma unroll
    for (int t = 0; t < TAPS; ++t) {
        down[t] = (y + t < task.height ? y + t : task.height - 1) * task.width;
        across[t] = first + cell + t < task.width ? first + cell + t : task.width - 1;
    }
    if (lane < lanes) {
        int best = ordered(-3.402823466e38f);
        bool finite = true;
#pragma unroll 4
        for (int k = lane; k < task.classes; k += lanes) {
            const cell_range numbers = range_of<TAPS>(map + k * plane, down, across);
            finite = finite && numbers.size < LUSS_INFINITY_BITS;
            const int key = ordered(numbers.low);
            best = key > best ? key : best;
        }
        atomicMax(best_low + cell, best);
        if (!finite) atomicMax(wild + cell, 1);
    }
    __syncthreads();
    if (lane < lanes && !wild[cell]) {
        const float bound = luss_least_top(unordered(best_low[cell]));
#pragma unroll 4
        for (int k = lane; k < task.classes; k += lanes)
            if (range_of<TAPS>(map + k * plane, down, across).top >= bound) {
                const int at = atomicAdd(count + cell, 1);
                if (at < CELL_LIST) list[cell * CELL_LIST + at] = k;
            }
    }
    __syncthreads();

    const float* gate = attention ? attention + static_cast<int64_t>(image) * task.attention_height * task.attention_width : nullptr;
    for (int at = thread; at < rows * columns; at += LABEL_THREADS) {
        const int i = top_row + at / columns, j = left + at % columns;
        const luss_tap row = table.rows[i], column = table.columns[j];
        const int mine = column.first - first, listed = count[mine];
        const T* x = map + static_cast<int64_t>(row.first) * task.width + column.first;
        const bool all = wild[mine] || listed > CELL_LIST;
        int id = all ? 0 : list[mine * CELL_LIST];
        if (all) {
            float best = luss_enlarged<TAPS>(x, task.width, row, column);
            for (int k = 1; k < task.classes; ++k) {
                const float value = luss_enlarged<TAPS>(x + k * plane, task.width, row, column);
                if (luss_takes(value, best)) best = value, id = k;
            }
        } else if (listed > 1) { // in the order in which threads came: equal values by class
            float best = luss_enlarged<TAPS>(x + id * plane, task.width, row, column);
            for (int c = 1; c < listed; ++c) {
                const int k = list[mine * CELL_LIST + c];
                const float value = luss_enlarged<TAPS>(x + k * plane, task.width, row, column);
                if (value > best || (value == best && k < id)) best = value, id = k;
            }
        }
        id += task.first_id;
        if (gate) {
            const luss_tap gate_row = table.attention_rows[i], gate_column = table.attention_columns[j];
            const float* from = gate + static_cast<int64_t>(gate_row.first) * task.attention_width + gate_column.first;
            if (luss_enlarged<2>(from, task.attention_width, gate_row, gate_column) < task.threshold) id = 0;
        }
        out[plan.out + static_cast<int64_t>(i) * plan.width + j] = id;
    }
}

/* Both launches on `stream`; nothing waits. T: float or __half; task in the host's memory, all else on the device; n may be 0. */
template <class T>
inline cudaError_t upsample_argmax(const T* logits, const luss_label_task& task, const luss_label_plan* plans, const float* attention, luss_tap* taps,
                                   int32_t* out, cudaStream_t stream) {
    if (task.n == 0) return cudaSuccess;
    const int per_image = 4;
    const dim3 block(LABEL_THREADS);
    LUSS_LAUNCH(label_taps_kernel, dim3(task.n * per_image), block, 0, stream, task, plans, per_image, taps);
    cudaError_t error = cudaGetLastError();
    const float* gate = task.attention_height ? attention : nullptr;
    const int groups = (task.width + CELLS - 1) / CELLS, per_group = (task.width + groups - 1) / groups; // equal shares: 43 as 22 + 21
    const int64_t blocks = static_cast<int64_t>(task.n) * task.height * groups;
    for (int64_t first = 0; first < blocks && error == cudaSuccess; first += LABEL_CHUNK) {
        const dim3 grid(static_cast<unsigned>(blocks - first < LABEL_CHUNK ? blocks - first : LABEL_CHUNK));
        if (task.middle_height)
            LUSS_LAUNCH((upsample_argmax_kernel<3, T>), grid, block, 0, stream, logits, task, plans, taps, gate, first, groups, per_group, out);
        else
            LUSS_LAUNCH((upsample_argmax_kernel<2, T>), grid, block, 0, stream, logits, task, plans, taps, gate, first, groups, per_group, out);
        error = cudaGetLastError();
    }
    return error;
}

} // namespace luss
