/* Mean cross-entropy and top-1 accuracy of bilinearly enlarged logits, forward and backward in one go.      hot path, spec/pass.md 7, B16
   logits (n, K, h, w) float32 or float16;  labels (n, H, W) int32, 0..K-1 or `ignore`, checked by the caller;  row_runs, column_runs with
   row_windows, column_windows: the tables of upsample_axis.h, on the device;  loss, accuracy (1,) float32;  gradient (n, K, h, w) float32 of the
   loss by the logits, or null;  scratch: upsample_cross_entropy_scratch(...) bytes, 16-aligned.
   loss = mean over pixels of log(sum_k exp z_k) - z_label, z the enlarged logits. Deterministic: floats are added in a fixed order, atomics only
   add whole numbers. NaN and infinity: as engine.ops.upsample_cross_entropy says, looked for in whole images, by bits.

   Least work, K classes and P distinct pixels (7 -> 112: 98^2 of 112^2 an image): the enlarged softmax has n K P values; forward and
   backward one at a time take 2 exponentials, 2 interpolations and 5 more operations each. Here: 6 / 16 exponentials, 1 product, 2 sums or
   comparisons, 1 interpolation, 2 fused for the gradient: 6 a value, of which 5 on the fp32 pipe. Batch 8, K = 920: 71 M values, 17 M warp
   instructions with a quarter of overhead counted by hand; at one a clock of 4 x 68 schedulers (2080 Ti, 1.55 GHz) 40 us; exponentials alone,
   one at a time at 16 a clock and processor, would take 84 us.
   Least traffic: logits once, gradient once, labels: 2.9 MB + 0.4 MB. Moved besides: corners are read 4 times from the second-level cache
   (a block's own 15 kB each time), windows' gradients (taps^2 K floats each, 36 windows: 4.2 MB) written and read once. Enlarged logits: 370 MB.
   Versions: v1, this one: a block per image and window of source pixels. Not timed: no GPU at hand.
   Accuracy: the exponentials' 3e-7 makes 4e-6 at the 8th power, 2e-6 on average over a row; sums as on the CPU.
   sm_75 and later; static shared memory 24.6 kB; blocks of up to 256 threads, two of them at once on a processor of sm_75. Any K; beyond
   1024 (512 in two steps) the gradients go through scratch. Registers of the window kernel, nvcc 13, no spills anywhere; taps, classes a thread:
     2, 1: sm_75 106, sm_80 106, sm_86 106, sm_90 101      2, 4: 124, 125, 123, 122
     3, 1: sm_75 128, sm_80 111, sm_86 107, sm_90 128      3, 2: 120, 120, 128, 124 */
#pragma once
#include "luss/cross_entropy_tile.cuh"
#include "luss/entropy_scratch.h"

namespace luss {

constexpr int INSPECT_PARTS = 16; // blocks an image

/* Launch 1. Every image's pixels that count, and whether a logit is NaN or infinite. counted and wrong are zeroed. */
template <class T>
__global__ void __launch_bounds__(ENTROPY_THREADS)
    entropy_inspect_kernel(const T* __restrict__ logits, const int32_t* __restrict__ labels, entropy_sizes s, unsigned* __restrict__ counted,
                           unsigned* __restrict__ wrong) {
    const int image = blockIdx.x / INSPECT_PARTS, part = blockIdx.x % INSPECT_PARTS;
    const int64_t values = s.classes * s.plane(), step = INSPECT_PARTS * ENTROPY_THREADS, begin = part * ENTROPY_THREADS + threadIdx.x;
    bool bad = false;
    for (int64_t i = begin; i < values; i += step) {
        const float x = as_float(logits[image * values + i]);
        unsigned bits;
        memcpy(&bits, &x, 4);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    unsigned count = 0;
    for (int64_t i = begin; i < s.pixels(); i += step) count += !s.has_ignore || labels[image * s.pixels() + i] != s.ignore;
    for (int offset = 16; offset > 0; offset /= 2) count += __shfl_down_sync(0xffffffffu, count, offset);
    if (threadIdx.x % 32 == 0 && count) atomicAdd(counted + image, count);
    if (bad) atomicMax(wrong + image, 1u);
}

/* Sum over the block, in a fixed order; the first thread has it. room: as many as there are threads. */
template <class T> __device__ T sum_of_block(T value, T* room) {
    __syncthreads();
    room[threadIdx.x] = value;
    __syncthreads();
    for (int width = ENTROPY_THREADS / 2; width > 0; width /= 2) {
        if (static_cast<int>(threadIdx.x) < width && threadIdx.x + width < blockDim.x) room[threadIdx.x] += room[threadIdx.x + width];
        __syncthreads();
    }
    return room[0];
}

/* Launch 2. A block per image and window. */
template <class T, int TAPS, int CLASSES>
__global__ void __launch_bounds__(ENTROPY_THREADS, 2)
    entropy_window_kernel(const T* __restrict__ all_logits, const int32_t* __restrict__ labels, entropy_sizes s,
                          const luss_run* __restrict__ row_runs, const int32_t* __restrict__ row_windows, const luss_run* __restrict__ column_runs,
                          const int32_t* __restrict__ column_windows, entropy_scratch scratch, bool gradient) {
    constexpr int CORNERS = TAPS * TAPS;
    __shared__ tile_memory m;
    __shared__ float top[CORNERS];
    const int unit = blockIdx.x, image = unit / s.windows(), window = unit % s.windows();
    const int thread = threadIdx.x, threads = blockDim.x, chunk = threads * CLASSES;
    const int first_row = row_windows[window / s.column_windows], last_row = row_windows[window / s.column_windows + 1];
    const int first_column = column_windows[window % s.column_windows], last_column = column_windows[window % s.column_windows + 1];
    if (scratch.wrong[image] || scratch.counted[image] == 0) {
        if (thread == 0) scratch.loss[unit] = 0, scratch.right[unit] = 0;
        return;
    }
    const T* logits = all_logits + static_cast<int64_t>(image) * s.classes * s.plane();
    float* planes = scratch.planes + static_cast<int64_t>(unit) * CORNERS * s.classes;
    int64_t offset[CORNERS];
    for (int i = 0; i < CORNERS; ++i) {
        const int y = row_runs[first_row].tap + i / TAPS, x = column_runs[first_column].tap + i % TAPS;
        offset[i] = static_cast<int64_t>(y < s.h ? y : s.h - 1) * s.w + (x < s.w ? x : s.w - 1); // beyond the map weights are 0
    }
    corners<TAPS, CLASSES> at;

    float most[CORNERS]; // of each corner
    for (int i = 0; i < CORNERS; ++i) most[i] = -INFINITY;
    for (int base = 0; base < s.classes; base += chunk)
        for (int c = 0; c < CLASSES; ++c) {
            const int k = base + c * threads + thread;
            if (k >= s.classes) break;
            for (int i = 0; i < CORNERS; ++i) most[i] = larger_op()(most[i], as_float(logits[k * s.plane() + offset[i]]));
        }
    for (int i = 0; i < CORNERS; ++i)
        for (int step = 16; step > 0; step /= 2) most[i] = larger_op()(most[i], __shfl_xor_sync(0xffffffffu, most[i], step));
    for (int i = 0; i < CORNERS; ++i)
        if (thread % 32 == 0) m.part[0][thread / 32][i] = most[i];
    __syncthreads();
    if (thread < CORNERS) {
        float largest = m.part[0][0][thread];
        for (int i = 1; i < threads / 32; ++i) largest = larger_op()(largest, m.part[0][i][thread]);
        top[thread] = largest;
    }

    double loss = 0;
    unsigned long long right = 0;
    float acc[CLASSES][CORNERS] = {};
    const int tiles_across = last_column - first_column, tiles = (last_row - first_row) * tiles_across;
    for (int tile = 0; tile < tiles; ++tile) {
        const luss_run rows = row_runs[first_row + tile / tiles_across], columns = column_runs[first_column + tile % tiles_across];
        const int distinct = rows.pixels * TILE;
        __syncthreads(); // the tile before is done with m
        if (thread == 0) m.direct = 0;
        for (int p = thread; p < TILE * TILE; p += threads) m.counted[p] = 0;
        __syncthreads();
        for (int base = 0; base < s.classes; base += chunk) {
            at.read(logits, offset, s.plane(), base + thread, threads, s.classes, top);
            add_sums<false>(at, rows, columns, base + thread, threads, s.classes, base == 0, m);
        }
        __syncthreads();
        for (int p = thread; p < distinct; p += threads) {
            float largest = m.part[1][0][p];
            for (int i = 1; i < threads / 32; ++i) largest = larger_op()(largest, m.part[1][i][p]);
            m.largest[p] = largest;
            if (p % TILE < columns.pixels && largest < -40.0f) m.direct = 1;
        }
        __syncthreads();
        if (m.direct) {
            for (int base = 0; base < s.classes; base += chunk) {
                at.read(logits, offset, s.plane(), base + thread, threads, s.classes, top);
                add_sums<true>(at, rows, columns, base + thread, threads, s.classes, base == 0, m);
            }
            __syncthreads();
        }
        const int down = rows.pixels * rows.copies, across = columns.pixels * columns.copies; // at most 16 each
        for (int q = thread; q < down * across; q += threads) {
            const int y = q / across, x = q % across, jy = y / rows.copies, jx = x / columns.copies;
            const int label = labels[image * s.pixels() + static_cast<int64_t>(rows.first + y) * s.width + columns.first + x];
            const bool counts = !s.has_ignore || label != s.ignore;
            m.label[q] = counts ? label : -1;
            if (!counts) continue;
            corners<TAPS, 1> of_label;
            of_label.read(logits, offset, s.plane(), label, 0, s.classes, top);
            float a, d;
            row_weights<TAPS>(rows, jy, columns).line(of_label.z[0], a, d);
            const float z = fmaf(static_cast<float>(jx), d, a);
            loss -= z;
            right += z >= m.largest[jy * TILE + jx];
            atomicAdd(&m.counted[jy * TILE + jx], 1);
        }
        __syncthreads();
        for (int p = thread; p < distinct; p += threads) {
            float sum = m.part[0][0][p];
            for (int i = 1; i < threads / 32; ++i) sum += m.part[0][i][p];
            const int counted = p % TILE < columns.pixels ? m.counted[p] : 0;
            const float share = counted ? luss_div(static_cast<float>(counted), sum) : 0.0f;
            const float j = static_cast<float>(p % TILE);
            for (int u = 0; u < TAPS; ++u) m.share[u][p] = counted ? share * fmaf(j, columns.step[u], columns.start[u]) : 0.0f;
            if (counted) loss += counted * static_cast<double>(log_of(sum) + (m.direct ? m.largest[p] : 0.0f));
        }
        if (!gradient) continue;
        for (int base = 0; base < s.classes; base += chunk) {
            if (base > 0 || tile == 0)
                for (int c = 0; c < CLASSES; ++c)
                    for (int i = 0; i < CORNERS; ++i) acc[c][i] = 0;
            // labels of this chunk: how many, sums of jx, of jy and of their product; at most 256, 3840 and 57600
            __syncthreads(); // the sums, or the chunk before, are done with m.part
            unsigned* moments = reinterpret_cast<unsigned*>(&m.part[0][0][0]);
            for (int k = thread; k < 2 * chunk; k += threads) moments[k] = 0;
            __syncthreads();
            for (int q = thread; q < down * across; q += threads) {
                const int k = m.label[q] - base;
                if (m.label[q] < 0 || k < 0 || k >= chunk) continue;
                const unsigned jy = q / across / rows.copies, jx = q % across / columns.copies;
                atomicAdd(moments + 2 * k, 1 | jx << 16);
                atomicAdd(moments + 2 * k + 1, jy | jx * jy << 16);
            }
            at.read(logits, offset, s.plane(), base + thread, threads, s.classes, top);
            add_gradient(at, rows, columns, m, acc);
            __syncthreads();
#pragma unroll
            for (int c = 0; c < CLASSES; ++c) {
                const int k = c * threads + thread;
                const unsigned low = moments[2 * k], high = moments[2 * k + 1];
                const float count = static_cast<float>(low & 0xffff), by_x = static_cast<float>(low >> 16), by_y = static_cast<float>(high & 0xffff),
                            by_both = static_cast<float>(high >> 16);
                for (int i = 0; i < CORNERS; ++i) {
                    const int t = i / TAPS, u = i % TAPS;
                    acc[c][i] -= rows.start[t] * (columns.start[u] * count + columns.step[u] * by_x) +
                                 rows.step[t] * (columns.start[u] * by_y + columns.step[u] * by_both);
                }
                if (base + k < s.classes && (tile == tiles - 1 || chunk < s.classes))
                    for (int i = 0; i < CORNERS; ++i) {
                        float* to = planes + static_cast<int64_t>(i) * s.classes + base + k;
                        *to = chunk < s.classes && tile > 0 ? *to + acc[c][i] : acc[c][i];
                        if (chunk < s.classes) acc[c][i] = 0;
                    }
            }
        }
    }
    __shared__ double room[ENTROPY_THREADS];
    const double total = sum_of_block(loss, room);
    const unsigned long long hits = sum_of_block(right, reinterpret_cast<unsigned long long*>(room));
    if (thread == 0) scratch.loss[unit] = total, scratch.right[unit] = hits;
}

/* Launch 3, one block: the figures of all units. */
template <class T> // of logits, for the name alone: a template's definition may stand in several translation units
__global__ void __launch_bounds__(ENTROPY_THREADS) entropy_finish_kernel(entropy_sizes s, entropy_scratch scratch, float* __restrict__ loss,
                                                                       float* __restrict__ accuracy) {
    __shared__ double room[ENTROPY_THREADS];
    unsigned long long* whole_room = reinterpret_cast<unsigned long long*>(room);
    double total = 0;
    unsigned long long hits = 0, counted = 0, wrong = 0;
    const int64_t units = static_cast<int64_t>(s.n) * s.windows();
    for (int64_t i = threadIdx.x; i < units; i += ENTROPY_THREADS) total += scratch.loss[i], hits += scratch.right[i];
    for (int i = threadIdx.x; i < s.n; i += ENTROPY_THREADS) {
        counted += scratch.counted[i];
        wrong += scratch.wrong[i] != 0 && scratch.counted[i] > 0;
    }
    total = sum_of_block(total, room);
    hits = sum_of_block(hits, whole_room);
    counted = sum_of_block(counted, whole_room);
    wrong = sum_of_block(wrong, whole_room);
    if (threadIdx.x > 0) return;
    const double one = counted ? 1.0 / static_cast<double>(counted) : 0.0;
    *loss = wrong ? not_a_number() : static_cast<float>(total * one);
    *accuracy = static_cast<float>(static_cast<double>(hits) * one);
    scratch.scale[0] = static_cast<float>(one);
}

/* Launch 4. A thread per class and source pixel: the windows that hold it, in order. */
template <int TAPS>
__global__ void __launch_bounds__(ENTROPY_THREADS)
    entropy_gather_kernel(entropy_sizes s, const luss_run* __restrict__ row_runs, const int32_t* __restrict__ row_windows,
                          const luss_run* __restrict__ column_runs, const int32_t* __restrict__ column_windows, entropy_scratch scratch,
                          float* __restrict__ gradient) {
    const int parts = (s.classes + ENTROPY_THREADS - 1) / ENTROPY_THREADS;
    const int k = blockIdx.x % parts * ENTROPY_THREADS + threadIdx.x;
    const int64_t point = blockIdx.x / parts;
    const int image = static_cast<int>(point / s.plane()), at = static_cast<int>(point % s.plane()), y = at / s.w, x = at % s.w;
    if (k >= s.classes) return;
    float sum = 0;
    if (scratch.counted[image] && !scratch.wrong[image])
        for (int i = 0; i < s.row_windows; ++i) {
            const int t = y - row_runs[row_windows[i]].tap;
            if (t < 0 || t >= TAPS) continue;
            for (int j = 0; j < s.column_windows; ++j) {
                const int u = x - column_runs[column_windows[j]].tap;
                if (u < 0 || u >= TAPS) continue;
                const int64_t unit = static_cast<int64_t>(image) * s.windows() + i * s.column_windows + j;
                sum += scratch.planes[(unit * TAPS * TAPS + t * TAPS + u) * s.classes + k];
            }
        }
    sum *= scratch.scale[0];
    const bool spoilt = scratch.wrong[image] && scratch.counted[image];
    gradient[(static_cast<int64_t>(image) * s.classes + k) * s.plane() + at] = spoilt ? not_a_number() : sum;
}

template <class T, int TAPS>
inline cudaError_t launch_cross_entropy(const T* logits, const int32_t* labels, entropy_sizes s, const luss_run* row_runs, const int32_t* row_windows,
                                        const luss_run* column_runs, const int32_t* column_windows, float* loss, float* accuracy, float* gradient,
                                        void* scratch, cudaStream_t stream) {
    constexpr int MANY = TAPS == 2 ? 4 : 2; // classes to a thread: corners and their gradients have to stay in registers
    const entropy_scratch parts(scratch, s.n, s.windows());
    const cudaError_t zeroed = cudaMemsetAsync(parts.counted, 0, sizeof(unsigned) * 2 * s.n, stream);
    if (zeroed != cudaSuccess) return zeroed;
    const dim3 block(ENTROPY_THREADS), inspecting(s.n * INSPECT_PARTS), units(static_cast<unsigned>(s.n * s.windows()));
    LUSS_LAUNCH(entropy_inspect_kernel<T>, inspecting, block, 0, stream, logits, labels, s, parts.counted, parts.wrong);
    const bool few = s.classes <= ENTROPY_THREADS, by_logits = gradient != nullptr;
    const int needed = few ? s.classes : (s.classes + MANY - 1) / MANY, whole_warps = (needed + 31) / 32 * 32;
    const dim3 threads(whole_warps < ENTROPY_THREADS ? whole_warps : ENTROPY_THREADS);
    const auto kernel = few ? entropy_window_kernel<T, TAPS, 1> : entropy_window_kernel<T, TAPS, MANY>;
    LUSS_LAUNCH(kernel, units, threads, 0, stream, logits, labels, s, row_runs, row_windows, column_runs, column_windows, parts, by_logits);
    LUSS_LAUNCH(entropy_finish_kernel<T>, dim3(1), block, 0, stream, s, parts, loss, accuracy);
    if (by_logits) {
        const dim3 points(static_cast<unsigned>(s.n * s.plane() * ((s.classes + ENTROPY_THREADS - 1) / ENTROPY_THREADS)));
        LUSS_LAUNCH(entropy_gather_kernel<TAPS>, points, block, 0, stream, s, row_runs, row_windows, column_runs, column_windows, parts, gradient);
    }
    return cudaGetLastError();
}

/* All launches on `stream`; nothing waits. two_steps: the tables hold three taps. Sizes are at least 1; n * windows and
   n * h * w * ceil(K / 256) below 2^31. Returns the first error. */
template <class T>
inline cudaError_t upsample_cross_entropy(const T* logits, const int32_t* labels, entropy_sizes sizes, const luss_run* row_runs,
                                          const int32_t* row_windows, const luss_run* column_runs, const int32_t* column_windows, bool two_steps,
                                          float* loss, float* accuracy, float* gradient, void* scratch, cudaStream_t stream) {
    const auto launch = two_steps ? launch_cross_entropy<T, 3> : launch_cross_entropy<T, 2>;
    return launch(logits, labels, sizes, row_runs, row_windows, column_runs, column_windows, loss, accuracy, gradient, scratch, stream);
}

} // namespace luss
