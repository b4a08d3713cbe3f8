// The few functions of the CUDA runtime that launchers use. The card is one of LUSS_SM (75 unless the driver says otherwise) with 2 SMs.
#pragma once
#include <cstring>
#include <map>

#include "guarded.h"

#ifndef LUSS_SM
#define LUSS_SM 75
#endif

typedef void* cudaStream_t;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout = 9 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76 };

namespace cuda_on_cpu {
constexpr size_t PLAIN_SHARED_LIMIT = 48 << 10;
// What a block may have of dynamic shared memory at most, static included.
constexpr size_t SHARED_LIMIT = (LUSS_SM == 75 ? 64 : LUSS_SM == 80 ? 163 : LUSS_SM == 86 ? 99 : 227) << 10;

// Kernels that were allowed more than 48 kB, by address.
inline std::map<const void*, size_t>& allowances() {
    static std::map<const void*, size_t> all;
    return all;
}
inline size_t shared_allowance(const void* kernel) {
    const auto found = allowances().find(kernel);
    return found == allowances().end() ? PLAIN_SHARED_LIMIT : std::max(PLAIN_SHARED_LIMIT, found->second);
}
} // namespace cuda_on_cpu

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) { return error == cudaSuccess ? "no error" : "invalid argument"; }
inline cudaError_t cudaMemsetAsync(void* at, int value, size_t size, cudaStream_t) {
    std::memset(at, value, size);
    return cudaSuccess;
}
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3 };
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t) {
    std::memcpy(to, from, size);
    return cudaSuccess;
}
template <class Kernel> cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || static_cast<size_t>(value) > cuda_on_cpu::SHARED_LIMIT) return cudaErrorInvalidValue;
    cuda_on_cpu::allowances()[reinterpret_cast<const void*>(kernel)] = value;
    return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrMultiProcessorCount ? 2 : attribute == cudaDevAttrComputeCapabilityMajor ? LUSS_SM / 10 : LUSS_SM % 10;
    return cudaSuccess;
}
