// libluss_kernels on the CPU: the C interface over the emulated kernels, with host memory for a GPU's. One translation unit of all headers, so
// names that two of them share show here. Called through engine.capi by tests/engine/capi.
#include <cstdio>

#include "cuda_on_cpu.h"

#include "capi/checks.cu"

#include "capi/attention.cu"
#include "capi/augment_crops.cu"
#include "capi/crop_labels.cu"
#include "capi/label_maps.cu"
#include "capi/resize_crops.cu"
#include "capi/vote_masks.cu"

extern "C" __attribute__((visibility("default"))) void luss_emulated_order(int order) { cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order); }
