/* Tensor-core and copy instructions as functions: one warp, operands in registers, fp16 products, fp32 sums. In namespace luss.
   Layouts (PTX manual, "Matrix Fragments for mma.m16n8k8 / .m16n8k16"), lane = 4 g + t: of A (16, k) a register holds elements
   (g, 2t), (g, 2t + 1) of an 8 x 8 quarter, quarters in the order rows 0-7, rows 8-15, then the same of k 8-15; of B (k, 8) elements
   (2t, g), (2t + 1, g), k 0-7 then 8-15; of C and D (16, 8): (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
   LUSS_SM is the architecture that code is made for: 75 has m16n8k8 and no asynchronous copies, 80 and later have m16n8k16 and cp.async.
   Sums: the instruction adds the exact products of 4 (sm_70 and 75), 8 (sm_80) or 16 (sm_90) k's and the accumulator at once, aligned to
   the largest and cut off below about 2^-23 of it (Fasi, Higham, Mikaitis, Pranesh, PeerJ CS 2021); nothing here promises an order.
   In tests/cuda_on_cpu these functions are emulated over the lanes of a warp (tensor_cores.h there), every addition rounded in order of k. */
#pragma once
#include <cstdint>

#include "luss/launch.h"
#ifndef LUSS_CUDA_ON_CPU
#include <cuda_fp16.h>
#endif

#ifndef LUSS_SM
#ifdef __CUDA_ARCH__
#define LUSS_SM (__CUDA_ARCH__ / 10)
#else
#define LUSS_SM 75 // the host's pass, which makes no device code
#endif
#endif

namespace luss {

/* c (16, 8) += a (16, 8) b (8, 8) */
__device__ __forceinline__ void mma_m16n8k8(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
#ifdef LUSS_CUDA_ON_CPU
    const uint32_t a[2] = {a0, a1};
    cuda_on_cpu::mma_m16n8(c, a, &b, 1, 20);
#elif LUSS_SM >= 75
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(b));
#endif
}

/* c (16, 8) += a (16, 16) b (16, 8); on sm_75 as two halves of k */
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if LUSS_SM < 80
    mma_m16n8k8(c, a[0], a[1], b0);
    mma_m16n8k8(c, a[2], a[3], b1);
#elif defined(LUSS_CUDA_ON_CPU)
    const uint32_t b[2] = {b0, b1};
    cuda_on_cpu::mma_m16n8(c, a, b, 2, 21);
#else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/* ldmatrix: four 8 x 8 matrices of halves from shared memory; lane i names row i % 8 of matrix i / 8 (16 bytes, aligned) and gets, of each
   matrix, elements (i / 4, 2 (i % 4)) and the next: the registers of A, and of B where rows are B's columns. */
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
#ifdef LUSS_CUDA_ON_CPU
    cuda_on_cpu::load_matrices(to, row);
#else
    const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
#endif
}

/* 16 bytes from global to shared memory, zeros where not `there`; they have arrived after copy_async_wait<N>, N being how many groups
   committed after them may still be under way, and for other threads after a barrier. On sm_75 a plain copy, at once: kernels that want
   the wait hidden there load into registers first. */
__device__ __forceinline__ void copy_async_16(void* to, const void* from, bool there) {
#if defined(LUSS_CUDA_ON_CPU) && LUSS_SM >= 80
    cuda_on_cpu::copy_async_16(to, from, there);
#elif LUSS_SM < 80
    *static_cast<uint4*>(to) = there ? *static_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(static_cast<uint32_t>(__cvta_generic_to_shared(to))), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
#endif
}
__device__ __forceinline__ void copy_async_commit() {
#if defined(LUSS_CUDA_ON_CPU) && LUSS_SM >= 80
    cuda_on_cpu::copy_async_commit();
#elif LUSS_SM >= 80
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int N> __device__ __forceinline__ void copy_async_wait() {
#if defined(LUSS_CUDA_ON_CPU) && LUSS_SM >= 80
    cuda_on_cpu::copy_async_wait(N);
#elif LUSS_SM >= 80
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

} // namespace luss
