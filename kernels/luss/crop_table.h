/* The records of a crop plan, as C sees them; the same as IMAGE and CROP in engine/ops/crop_table.py, where their meaning stands.
   Plain C++ for g++ and nvcc. */
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define LUSS_BOTH __host__ __device__ inline
#else
#define LUSS_BOTH inline
#endif

struct luss_image {
    int64_t offset; // of the first byte
    int32_t height, width;
};

struct luss_crop {
    int32_t image, flip, order, grey;
    float left, top, width, height;
    float brightness, contrast, saturation, hue;
    float blur;
};

static_assert(sizeof(luss_image) == 16, "luss_image must match IMAGE of engine/ops/crop_table.py");
static_assert(sizeof(luss_crop) == 52, "luss_crop must match CROP of engine/ops/crop_table.py");

enum luss_step { LUSS_BRIGHTNESS, LUSS_CONTRAST, LUSS_SATURATION, LUSS_HUE };

/* The permutation of (0, 1, 2, 3) of lexicographic rank `order` in 0..23, four bits a step, the first step lowest. */
LUSS_BOTH int luss_steps(int order) {
    const int choice[4] = {order / 6, order % 6 / 2, order % 2, 0};
    int left = 0x3210, steps = 0; // the steps not yet taken, four bits each
    for (int i = 0; i < 4; ++i) {
        const int at = 4 * choice[i];
        steps |= (left >> at & 15) << 4 * i;
        left = (left & ((1 << at) - 1)) | (left >> (at + 4) << at);
    }
    return steps;
}

/* The hue step's addend modulo 256: 255 hue towards zero. */
LUSS_BOTH int luss_hue_shift(float hue) { return static_cast<int>(255.0 * static_cast<double>(hue)) & 255; }
