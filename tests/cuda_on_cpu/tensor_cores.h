// The warp-wide matrix instructions that kernels/luss/mma.h wraps, over the lanes of a warp, with the fragment layouts of the PTX manual
// ("Matrix Fragments for mma.m16n8k8", ".m16n8k16", "ldmatrix"). This emulates the instruction, it does not run it: products are exact and
// every addition is rounded to fp32 in the order of k; the hardware adds groups of products at once, aligned and cut off, not rounded.
#pragma once
#include "halves.h"
#include "warp_operations.h"

namespace cuda_on_cpu {

inline float half_of(uint32_t pair, int which) { return __half2float(__half{static_cast<uint16_t>(pair >> 16 * which)}); }

struct Operands {
    const uint32_t *a, *b;
};

// D = A B + C for A (16, 8 * steps) and B (8 * steps, 8): element (row, k) of A lies in lane row % 8 * 4 + k % 8 / 2, half k % 2 of register
// row / 8 + 2 * (k / 8); element (k, column) of B in lane column * 4 + k % 8 / 2, half k % 2 of register k / 8; a lane's four results are
// (lane / 4, lane % 4 * 2), the next column, and the same 8 rows further down.
inline void mma_m16n8(float* c, const uint32_t* a, const uint32_t* b, int steps, int site) {
    const Operands mine = {a, b};
    float result[4];
    meet(~0u, &mine, site, [&] {
        const int group = lane() / 4, in_group = lane() % 4;
        for (int i = 0; i < 4; ++i) {
            const int row = group + i / 2 * 8, column = in_group * 2 + i % 2;
            result[i] = c[i];
            for (int k = 0; k < 8 * steps; ++k) {
                const Operands* left = value_of<const Operands*>(*neighbour(row % 8 * 4 + k % 8 / 2));
                const Operands* right = value_of<const Operands*>(*neighbour(column * 4 + k % 8 / 2));
                result[i] += half_of(left->a[row / 8 + 2 * (k / 8)], k % 2) * half_of(right->b[k / 8], k % 2); // exact product: 22 bits
            }
        }
    });
    std::copy(result, result + 4, c);
}

// Four 8 x 8 matrices of halves; lane i gives the address of row i % 8 of matrix i / 8 and gets elements (i / 4, i % 4 * 2 and the next).
inline void load_matrices(uint32_t* to, const void* row) {
    if (reinterpret_cast<uintptr_t>(row) % 16) throw_later("ldmatrix: a row that is not aligned to 16 bytes");
    uint32_t result[4];
    meet(~0u, row, 22, [&] {
        for (int i = 0; i < 4; ++i) {
            const void* from = value_of<const void*>(*neighbour(i * 8 + lane() / 4));
            std::memcpy(&result[i], static_cast<const char*>(from) + lane() % 4 * 4, 4);
        }
    });
    std::copy(result, result + 4, to);
}

// cp.async: nothing arrives before it is waited for. `there` false gives zeros.
inline void copy_async_16(void* to, const void* from, bool there) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || (there && reinterpret_cast<uintptr_t>(from) % 16)) throw_later("cp.async: not aligned to 16 bytes");
    Fiber* self = machine().current;
    self->copies.push_back({to, there ? from : nullptr, 16, self->groups});
}
inline void copy_async_commit() { ++machine().current->groups; }
inline void copy_async_wait(int left) {
    Fiber* self = machine().current;
    std::vector<LateCopy> later;
    for (const LateCopy& copy : self->copies) {
        if (copy.group >= self->groups - left) later.push_back(copy);
        else if (copy.from) std::memcpy(copy.to, copy.from, copy.bytes);
        else std::memset(copy.to, 0, copy.bytes);
    }
    self->copies.swap(later);
}

} // namespace cuda_on_cpu
