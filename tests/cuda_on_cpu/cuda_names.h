// What kernels call, by CUDA's names.
#pragma once
#include "halves.h"
#include "runtime_api.h"
#include "scalar_functions.h"
#include "tensor_cores.h"
#include "warp_operations.h"

#define threadIdx (cuda_on_cpu::machine().current->index)
#define blockIdx (cuda_on_cpu::machine().block)
#define blockDim (cuda_on_cpu::machine().block_size)
#define gridDim (cuda_on_cpu::machine().grid_size)
constexpr int warpSize = 32;

template <class T> T __ldg(const T* at) { return *at; }
template <class T> T __ldcg(const T* at) { return *at; }
template <class T> T __ldcs(const T* at) { return *at; }
template <class T> void __stcs(T* at, T value) { *at = value; }
template <class T> void __stcg(T* at, T value) { *at = value; }
