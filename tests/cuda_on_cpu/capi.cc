// libluss_kernels on the CPU: the C interface over the emulated kernels, with host memory for a GPU's. Called through engine.capi by
// tests/engine/capi. In the library every file below is a translation unit of its own.
#include <cstdio>

#include "cuda_on_cpu.h"

#include "capi/checks.cu"

#include "capi/attention.cu"
#include "capi/augment_crops.cu"
#include "capi/centroid_sums.cu"
#include "capi/crop_labels.cu"
#include "capi/fixed_sums.cu"
#include "capi/label_maps.cu"
#include "capi/nearest_centroid.cu"
#include "capi/resize_crops.cu"
#include "capi/unit_rows.cu"
#include "capi/upsample_cross_entropy.cu"
#include "capi/vote_masks.cu"

extern "C" __attribute__((visibility("default"))) void luss_emulated_order(int order) { cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order); }
