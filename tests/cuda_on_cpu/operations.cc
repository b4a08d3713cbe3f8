// Kernels over the warp operations, matrix instructions and copies of the emulation, for tests/cuda_on_cpu/test_operations.py.
#include "cuda_on_cpu.h"
#include "luss/mma.h"

using cuda_on_cpu::Guarded;

// out (6, 64): what the operations give for `values` (64).
__global__ void warp_operations(const int* values, int* out) {
    const unsigned all = 0xffffffffu;
    const int at = static_cast<int>(threadIdx.x), value = values[at];
    out[at] = static_cast<int>(__match_any_sync(all, value));
    out[64 + at] = __reduce_add_sync(all, value);
    out[128 + at] = __reduce_max_sync(all, value);
    out[192 + at] = __reduce_min_sync(all, value);
    out[256 + at] = static_cast<int>(__reduce_or_sync(all, static_cast<unsigned>(value)));
    out[320 + at] = __syncthreads_count(value > 0) + 1000 * __syncthreads_or(value == 7) + 2000 * __syncthreads_and(value < 9);
}

// The lower half of each warp meets at one operation, the upper half at another.
__global__ void two_halves(int* out) {
    const unsigned mine = threadIdx.x % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
    out[threadIdx.x] = static_cast<int>(threadIdx.x % 32 < 16 ? __ballot_sync(mine, 1) : __match_any_sync(mine, 5));
}

__global__ void different_barriers(int* out) { out[threadIdx.x] = threadIdx.x < 9 ? __syncthreads_or(1) : __syncthreads_count(1); }

// c (16, 8) += a (16, 8 steps) b (8, 8 steps)', loaded as the kernels do it.
__global__ void multiply(const half* a, const half* b, float* c, int steps) {
    __shared__ __align__(16) half tiles[2][16][16];
    for (int at = static_cast<int>(threadIdx.x); at < 256; at += 32) {
        const int row = at / 16, k = at % 16;
        tiles[0][row][k] = k < 8 * steps ? a[row * 8 * steps + k] : __half{0};
        tiles[1][row][k] = row < 8 && k < 8 * steps ? b[row * 8 * steps + k] : __half{0};
    }
    __syncthreads();
    const int lane = static_cast<int>(threadIdx.x), group = lane / 4, in_group = lane % 4;
    uint32_t left[4], right[4];
    luss::load_matrices(left, &tiles[0][lane % 16][lane / 16 * 8]);
    luss::load_matrices(right, &tiles[1][lane % 8 + lane / 16 * 8][lane / 8 % 2 * 8]);
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = c[(group + i / 2 * 8) * 8 + in_group * 2 + i % 2];
    if (steps == 2) luss::mma_m16n8k16(sum, left, right[0], right[1]);
    else luss::mma_m16n8k8(sum, left[0], left[1], right[0]);
    for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + in_group * 2 + i % 2] = sum[i];
}

// Each thread copies its 16 bytes; with `waits` it waits for them, and the block reads its neighbours' either way.
__global__ void copied(const int* from, int* out, int waits) {
    __shared__ __align__(16) int words[2][256];
    const int at = 4 * static_cast<int>(threadIdx.x);
    luss::copy_async_16(&words[0][at], from + at, at < 128);
    luss::copy_async_commit();
    luss::copy_async_16(&words[1][at], from + at, true);
    luss::copy_async_commit();
    if (waits == 1) luss::copy_async_wait<1>();
    if (waits == 2) luss::copy_async_wait<0>();
    __syncthreads();
    for (int i = 0; i < 4; ++i) out[at + i] = words[0][(at + 4) % 256 + i], out[256 + at + i] = words[1][(at + 4) % 256 + i];
}

// One warp writes, the other reads after warp operations of its own, which are no barrier between warps.
__global__ void between_warps(int* out, int barrier) {
    __shared__ int words[32];
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (threadIdx.x < 32) words[lane] = lane;
    if (barrier) __syncthreads();
    out[threadIdx.x] = words[__shfl_xor_sync(0xffffffffu, lane, 1)];
}

__global__ void misaligned(int* out) {
    __shared__ __align__(16) int words[64];
    uint32_t got[4];
    words[threadIdx.x] = 0;
    luss::load_matrices(got, words + 1);
    out[threadIdx.x] = static_cast<int>(got[0]);
}

__global__ void much_shared(int* out) {
    LUSS_SHARED_BYTES(bytes);
    bytes[threadIdx.x] = 1;
    out[threadIdx.x] = bytes[threadIdx.x];
}

// floats, doubles, ints and 64-bit counters, by all threads at one place each
__global__ void atomics(int* out) {
    __shared__ float f;
    __shared__ int largest, swapped;
    __shared__ unsigned long long count;
    if (threadIdx.x == 0) f = 0, largest = -1, swapped = 0, count = 1ull << 40;
    __syncthreads();
    atomicAdd(&f, 0.5f);
    atomicMax(&largest, static_cast<int>(threadIdx.x));
    atomicCAS(&swapped, 0, 5);
    atomicAdd(&count, 3ull);
    __syncthreads();
    out[threadIdx.x] = static_cast<int>(f) + 100 * largest + 10000 * swapped + (count == (1ull << 40) + 192 ? 100000 : 0);
}

extern "C" int luss_run_operations(int what, int value, const int* in, int in_count, int* out, int out_count, int order, char* message, int room) {
    return cuda_on_cpu::guarded(
        [=] {
            Guarded<int> from(in, in_count), result(out, out_count);
            int *source = from.data(), *to = result.data();
            if (what == 0) LUSS_LAUNCH(warp_operations, 1, 64, 0, nullptr, source, to);
            if (what == 1) LUSS_LAUNCH(two_halves, 1, 64, 0, nullptr, to);
            if (what == 2) LUSS_LAUNCH(different_barriers, 1, 64, 0, nullptr, to);
            if (what == 3) LUSS_LAUNCH(copied, 1, 64, 0, nullptr, source, to, value);
            if (what == 4) LUSS_LAUNCH(misaligned, 1, 32, 0, nullptr, to);
            if (what == 5) LUSS_LAUNCH(atomics, 1, 64, 0, nullptr, to);
            if (what == 6) {
                if (value > 0 && cudaFuncSetAttribute(much_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, value) != cudaSuccess)
                    throw cuda_on_cpu::Fault("cudaFuncSetAttribute refused");
                LUSS_LAUNCH(much_shared, 1, 64, std::max(value, 50000), nullptr, to);
            }
            if (what == 7) LUSS_LAUNCH(between_warps, 1, 64, 0, nullptr, to, value);
            result.copy_to(out, "out");
        },
        order, message, room);
}

extern "C" int luss_run_multiply(const half* a, const half* b, float* c, int steps, int order, char* message, int room) {
    return cuda_on_cpu::guarded(
        [=] {
            Guarded<half> left(a, 128 * steps), right(b, 64 * steps);
            Guarded<float> sum(c, 128);
            half *rows = left.data(), *columns = right.data();
            float* to = sum.data();
            LUSS_LAUNCH(multiply, 1, 32, 0, nullptr, rows, columns, to, steps);
            sum.copy_to(c, "c");
        },
        order, message, room);
}

// The six operations on pairs of halves, as bits; out (6, count).
extern "C" void luss_half_arithmetic(const uint16_t* a, const uint16_t* b, int count, uint16_t* out) {
    for (int i = 0; i < count; ++i) {
        const half x{a[i]}, y{b[i]};
        const half2 both = __hfma2(__half2half2(x), __half2half2(y), __halves2half2(x, y));
        const half results[6] = {x + y, x - y, x * y, x / y, __low2half(both), __high2half(both)};
        for (int k = 0; k < 6; ++k) out[k * count + i] = results[k].bits;
    }
}

extern "C" void luss_bit_functions(const uint32_t* values, int count, int* out) {
    for (int i = 0; i < count; ++i) {
        const int number = static_cast<int>(values[i]);
        const int results[4] = {__popc(values[i]), __ffs(number), __clz(number), static_cast<int>(__brev(values[i]))};
        std::copy(results, results + 4, out + 4 * i);
    }
}
