/* Sum over the 32 lanes of a warp, the same in all of them, in a fixed order. */
#pragma once
#include "luss/launch.h"

namespace luss {

template <class T> __device__ __forceinline__ T warp_sum(T value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

} // namespace luss
