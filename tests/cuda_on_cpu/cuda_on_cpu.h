// Compiles CUDA kernels with g++ and runs them on the CPU, for their results, not their speed. Include it first, then the kernel's header.
//
// Blocks run one after another; each CUDA thread is a fiber that runs until a barrier, a warp operation or its end. The order of blocks and
// threads is chosen (`order()`), so that a missing barrier shows as a wrong result in at least one of them: forward and reverse let one warp
// run as far as the next block barrier before another begins, random takes turns among all threads.
// Shared memory holds poison when a block starts. A `Guarded` array lies between unmapped pages: touching the first byte past its end is
// caught, and so is a misaligned float4. A barrier that not all threads reach is reported. Emulated rather than run: tensor cores, ldmatrix,
// cp.async (tensor_cores.h), halves. What cannot be shown: races between blocks, speed, --use_fast_math; static shared memory is not counted.
#pragma once
#include <csignal>
#include <cstdio>

#include "fibers.h"

#define LUSS_CUDA_ON_CPU 1
#define __global__ __attribute__((unused)) // kernels may be static or not
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("luss_shared")))
#define LUSS_SHARED_BYTES(name) unsigned char* const name = cuda_on_cpu::machine().dynamic
// A kernel with several template arguments is put in brackets: LUSS_LAUNCH((kernel<A, B>), ...).
#define LUSS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    cuda_on_cpu::launch(#kernel, cuda_on_cpu::address(kernel), grid, block, shared_bytes, [=] { kernel(__VA_ARGS__); })

extern char __start_luss_shared[] __attribute__((visibility("hidden"), weak));
extern char __stop_luss_shared[] __attribute__((visibility("hidden"), weak));

namespace cuda_on_cpu {

template <class Kernel> const void* address(Kernel* kernel) { return reinterpret_cast<const void*>(kernel); }

inline std::string& late_fault() {
    static std::string reason;
    return reason;
}
inline void on_fault(int) { siglongjmp(machine().escape, 1); }
// Ends the launch with this reason, from inside a thread: its stack cannot be unwound, it is left.
inline void throw_later(const char* reason) {
    late_fault() = reason;
    siglongjmp(machine().escape, 1);
}

} // namespace cuda_on_cpu

#include "cuda_names.h"

namespace cuda_on_cpu {

// Runs the whole grid. Throws Fault for memory outside a guarded array and for barriers that some threads miss.
inline void launch(const char* name, const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
    Machine& m = machine();
    const size_t allowance = shared_allowance(kernel);
    if (block.x * block.y * block.z > 1024 || shared_bytes > allowance)
        throw Fault(std::string(name) + ": over 1024 threads or " + std::to_string(allowance >> 10) + " kB of shared memory");
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7fffffffu)
        throw Fault(std::string(name) + ": a grid that no card takes");
    m.body = &body, m.block_size = block, m.grid_size = grid;
    std::vector<unsigned> blocks(static_cast<size_t>(grid.x) * grid.y * grid.z);
    std::iota(blocks.begin(), blocks.end(), 0u);
    std::mt19937 random(20240607);
    if (order() == REVERSE) std::reverse(blocks.begin(), blocks.end());
    if (order() == RANDOM) std::shuffle(blocks.begin(), blocks.end(), random);
    GuardedBytes dynamic(shared_bytes);
    m.dynamic = dynamic.data();
    struct sigaction ours = {}, before[2];
    ours.sa_handler = on_fault;
    sigaction(SIGSEGV, &ours, &before[0]);
    sigaction(SIGBUS, &ours, &before[1]);
    std::string failure;
    late_fault().clear();
    if (sigsetjmp(m.escape, 1) == 0) {
        try {
            for (unsigned at : blocks) {
                m.block = {at % grid.x, at / grid.x % grid.y, at / grid.x / grid.y};
                std::memset(dynamic.data(), POISON, shared_bytes);
                if (__start_luss_shared) std::memset(__start_luss_shared, POISON, __stop_luss_shared - __start_luss_shared);
                run_block(random);
                dynamic.check("dynamic shared memory");
            }
        } catch (const Fault& fault) {
            failure = fault.what();
        }
    } else {
        failure = (late_fault().empty() ? "memory outside an array" : late_fault()) + where();
    }
    sigaction(SIGSEGV, &before[0], nullptr);
    sigaction(SIGBUS, &before[1], nullptr);
    m.current = nullptr;
    if (!failure.empty()) throw Fault(std::string(name) + ": " + failure);
}

// A driver's call: `body` with its blocks and threads in this order. 0, or 1 with the fault in `message`.
template <class Body> int guarded(Body body, int chosen, char* message, int room) {
    order() = static_cast<Order>(chosen);
    try {
        body();
    } catch (const Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}

} // namespace cuda_on_cpu
