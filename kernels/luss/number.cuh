/* A number of a map or of a row as fp32, however it is stored. */
#pragma once
#include "luss/crop_table.h"
#ifndef LUSS_CUDA_ON_CPU
#include <cuda_fp16.h>
#endif

namespace luss {

LUSS_BOTH float as_float(float x) { return x; }
LUSS_BOTH float as_float(__half x) { return __half2float(x); }

} // namespace luss
