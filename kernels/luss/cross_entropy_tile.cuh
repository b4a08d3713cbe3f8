/* Softmax over a tile of enlarged logits, for upsample_cross_entropy.cuh: one run of rows by one run of columns (upsample_axis.h), at most
   16 x 16 distinct pixels, classes across the threads of a block, CLASSES of them to a thread at a time (a chunk).
   A logit is a + j d at pixel j of a row: its exponential is e r^j, 3 exponentials for 16 pixels, as on the CPU (cpu/cross_entropy_run.h has the
   error). Interpolation is the CPU path's, operation by operation, so the largest logit of a pixel is the same to the bit. */
#pragma once
#include <cstring>

#include "luss/exact.h"
#include "luss/launch.h"
#include "luss/number.cuh"
#include "luss/upsample_axis.h"

namespace luss {

constexpr int TILE = RUN_PIXELS, ENTROPY_THREADS = 256, ENTROPY_WARPS = ENTROPY_THREADS / 32;
constexpr float LOWEST_LOGIT = -0x1p126f; // of a shifted logit, and of classes behind K: their exponential is 0

/* 2^x; relative error 2^-22 */
__device__ __forceinline__ float power_of_two(float x) {
#ifdef LUSS_CUDA_ON_CPU
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

/* exp for -2^126 <= x <= 88, relative error 3e-7: the part of x log2(e) that its rounding drops is put back. 0 below -87. */
__device__ __forceinline__ float exp_of(float x) {
    const float high = luss_mul(x, 1.44269504f), low = fmaf(x, 1.44269504f, -high);
    const float y = power_of_two(high);
    return x < -87.0f ? 0.0f : fmaf(y, luss_mul(low, 0.693147181f), y);
}

/* log of a normal positive number, error 1e-7 and half a unit of the result: 2 artanh((m - 1) / (m + 1)), 0.7 <= m < 1.42, to the 9th power. */
__device__ __forceinline__ float log_of(float x) {
    int bits;
    memcpy(&bits, &x, 4);
    const int exponent = (bits - 0x3f3504f3) >> 23;
    bits -= exponent * (1 << 23);
    float m;
    memcpy(&m, &bits, 4);
    const float t = luss_div(m - 1.0f, m + 1.0f), s = luss_mul(t, t);
    const float p = fmaf(s, fmaf(s, fmaf(s, fmaf(s, 1.0f / 9, 1.0f / 7), 0.2f), 1.0f / 3), 1.0f);
    return fmaf(static_cast<float>(exponent), 0.693147181f, luss_mul(2 * t, p));
}

struct add_op {
    __device__ float operator()(float a, float b) const { return a + b; }
};
struct larger_op {
    __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};

/* Combines each of the 2 HALF values over groups of 4 HALF lanes, in a fixed order; v is used up. Recursion, so that v stays in registers. */
template <int HALF, class OP> struct combine {
    static __device__ __forceinline__ float run(float (&v)[TILE], int lane, OP op) {
        const bool upper = lane & 2 * HALF;
#pragma unroll
        for (int j = 0; j < HALF; ++j) {
            const float given = upper ? v[j] : v[j + HALF], kept = upper ? v[j + HALF] : v[j];
            v[j] = op(kept, __shfl_xor_sync(0xffffffffu, given, 2 * HALF));
        }
        return combine<HALF / 2, OP>::run(v, lane, op);
    }
};
template <class OP> struct combine<0, OP> {
    static __device__ __forceinline__ float run(float (&v)[TILE], int, OP op) { return op(v[0], __shfl_xor_sync(0xffffffffu, v[0], 1)); }
};
/* Each of 16 values over the warp: lanes 2 i and 2 i + 1 return value i. */
template <class OP> __device__ __forceinline__ float combine_16(float (&v)[TILE], int lane, OP op) { return combine<TILE / 2, OP>::run(v, lane, op); }

__device__ __forceinline__ float not_a_number() {
    const unsigned bits = 0x7fc00000u;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

/* The corners of a window for the classes of one thread. */
template <int TAPS, int CLASSES> struct corners {
    float z[CLASSES][TAPS * TAPS]; // shifted: the largest of every corner is 0

    template <class T>
    __device__ void read(const T* logits, const int64_t (&offset)[TAPS * TAPS], int64_t plane, int first, int stride, int classes, const float* top) {
#pragma unroll
        for (int c = 0; c < CLASSES; ++c) {
            const int k = first + c * stride;
#pragma unroll
            for (int i = 0; i < TAPS * TAPS; ++i) {
                if (k >= classes) {
                    z[c][i] = LOWEST_LOGIT;
                    continue;
                }
                const float shifted = luss_add(as_float(logits[k * plane + offset[i]]), -top[i]);
                z[c][i] = shifted < LOWEST_LOGIT ? LOWEST_LOGIT : shifted;
            }
        }
    }
};

/* The weights of one row of pixels. */
template <int TAPS> struct row_weights {
    float down[TAPS], start[TAPS], step[TAPS];

    __device__ row_weights(const luss_run& rows, int jy, const luss_run& columns) {
#pragma unroll
        for (int t = 0; t < TAPS; ++t) {
            down[t] = fmaf(static_cast<float>(jy), rows.step[t], rows.start[t]);
            start[t] = columns.start[t];
            step[t] = columns.step[t];
        }
    }
    __device__ void line(const float* z, float& a, float& d) const {
#pragma unroll
        for (int u = 0; u < TAPS; ++u) {
            float v = luss_mul(down[0], z[u]);
#pragma unroll
            for (int t = 1; t < TAPS; ++t) v = fmaf(down[t], z[t * TAPS + u], v);
            a = u == 0 ? luss_mul(start[0], v) : fmaf(start[u], v, a);
            d = u == 0 ? luss_mul(step[0], v) : fmaf(step[u], v, d);
        }
    }
};

struct tile_memory {
    float part[2][ENTROPY_WARPS][TILE * TILE]; // sums and largest of each warp; afterwards the labels' moments
    float largest[TILE * TILE], share[3][TILE * TILE]; // share: by source column
    int counted[TILE * TILE], label[TILE * TILE];
    int direct;
};

/* Adds the classes of one chunk to this warp's sums, and to its largest logits unless DIRECT. */
template <bool DIRECT, int TAPS, int CLASSES>
__device__ __forceinline__ void add_sums(const corners<TAPS, CLASSES>& at, const luss_run& rows, const luss_run& columns, int first, int stride,
                                         int classes, bool begin, tile_memory& m) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    bool deep = false;
    for (int jy = 0; jy < rows.pixels; ++jy) {
        const row_weights<TAPS> weights(rows, jy, columns);
        float sum[TILE], top[TILE];
#pragma unroll
        for (int j = 0; j < TILE; ++j) sum[j] = 0, top[j] = LOWEST_LOGIT;
#pragma unroll
        for (int c = 0; c < CLASSES; ++c) {
            float a, d;
            weights.line(at.z[c], a, d);
            float e = 0, r = 0;
            if (!DIRECT) {
                const float end = fmaf(static_cast<float>(columns.pixels - 1), d, a);
                deep |= first + c * stride < classes && (a < -80.0f || end < -80.0f);
                e = exp_of(a);
                r = exp_of(d < 88.0f ? d : 88.0f); // a pixel alone has no step, and more than 80 is `deep`
            }
#pragma unroll
            for (int group = 0; group < TILE; group += 4) {
                if (group < columns.pixels) { // the same for the whole block
                    if (!DIRECT && group == TILE / 2) e = exp_of(fmaf(static_cast<float>(TILE / 2), d, a));
#pragma unroll
                    for (int j = group; j < group + 4; ++j) {
                        const float z = fmaf(static_cast<float>(j), d, a);
                        if (DIRECT) {
                            sum[j] += exp_of(z - m.largest[jy * TILE + j]);
                        } else {
                            sum[j] += e;
                            e *= r;
                            top[j] = z > top[j] ? z : top[j];
                        }
                    }
                }
            }
        }
        const int slot = jy * TILE + lane / 2;
        const float total = combine_16(sum, lane, add_op());
        const float most = DIRECT ? 0.0f : combine_16(top, lane, larger_op());
        if (lane % 2 == 0) {
            float* at_sum = &m.part[0][warp][slot];
            float* at_top = &m.part[1][warp][slot];
            *at_sum = begin ? total : *at_sum + total;
            if (!DIRECT) *at_top = begin || most > *at_top ? most : *at_top;
        }
    }
    if (deep) m.direct = 1; // every thread that writes, writes the same
}

/* sum of coefficient[j] r^j over 8 pixels, by Horner's scheme; the coefficients are positive, so that nothing cancels. */
__device__ __forceinline__ float polynomial(const float* coefficient, float r) {
    float p = coefficient[TILE / 2 - 1];
#pragma unroll
    for (int j = TILE / 2 - 2; j >= 0; --j) p = fmaf(p, r, coefficient[j]);
    return p;
}

/* acc += the gradient of sum over pixels of counted * log(sum) by the corners. m.share is 0 behind the last pixel. */
template <int TAPS, int CLASSES>
__device__ __forceinline__ void add_gradient(const corners<TAPS, CLASSES>& at, const luss_run& rows, const luss_run& columns, const tile_memory& m,
                                             float (&acc)[CLASSES][TAPS * TAPS]) {
    constexpr int HALF = TILE / 2;
    for (int jy = 0; jy < rows.pixels; ++jy) {
        const row_weights<TAPS> weights(rows, jy, columns);
#pragma unroll
        for (int c = 0; c < CLASSES; ++c) {
            float a, d, by_column[TAPS];
            weights.line(at.z[c], a, d);
            if (m.direct) {
#pragma unroll
                for (int u = 0; u < TAPS; ++u) by_column[u] = 0;
                for (int j = 0; j < columns.pixels; ++j) {
                    const float e = exp_of(fmaf(static_cast<float>(j), d, a) - m.largest[jy * TILE + j]);
#pragma unroll
                    for (int u = 0; u < TAPS; ++u) by_column[u] = fmaf(m.share[u][jy * TILE + j], e, by_column[u]);
                }
            } else {
                const float e = exp_of(a), r = exp_of(d);
#pragma unroll
                for (int u = 0; u < TAPS; ++u) by_column[u] = e * polynomial(m.share[u] + jy * TILE, r);
                if (columns.pixels > HALF) {
                    const float half = exp_of(fmaf(static_cast<float>(HALF), d, a));
#pragma unroll
                    for (int u = 0; u < TAPS; ++u) by_column[u] = fmaf(half, polynomial(m.share[u] + jy * TILE + HALF, r), by_column[u]);
                }
            }
#pragma unroll
            for (int u = 0; u < TAPS; ++u)
#pragma unroll
                for (int t = 0; t < TAPS; ++t) acc[c][t * TAPS + u] = fmaf(weights.down[t], by_column[u], acc[c][t * TAPS + u]);
        }
    }
}

} // namespace luss
