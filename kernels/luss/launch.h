/* Kernel launches and dynamic shared memory, in the two spellings they need: nvcc's, and that of tests/cuda_on_cpu, which is included first
   and defines these names itself. */
#pragma once

#ifndef LUSS_LAUNCH
#include <cuda_runtime.h>
#define LUSS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__)
#define LUSS_SHARED_BYTES(name) extern __shared__ __align__(16) unsigned char name[]
#endif
