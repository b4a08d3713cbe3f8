// Compiles CUDA kernels with g++ and runs them on the CPU, for their results, not their speed. Include it first, then the kernel's header.
//
// Blocks run one after another; each CUDA thread is a fiber that runs until a barrier, a warp operation or its end. The order of blocks and
// threads is chosen (`order()`): forward, reverse or random, so that a missing barrier shows as a wrong result in at least one of them.
// Shared memory holds poison when a block starts. A `Guarded` array lies between unmapped pages: touching the first byte past its end is
// caught. A barrier that not all threads reach is reported. What cannot be shown: races between blocks, speed, --use_fast_math.
#pragma once
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#define LUSS_CUDA_ON_CPU 1
#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("luss_shared")))
#define LUSS_SHARED_BYTES(name) unsigned char* const name = cuda_on_cpu::dynamic_shared()
#define LUSS_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    cuda_on_cpu::launch(#kernel, grid, block, shared_bytes, [=] { kernel(__VA_ARGS__); })

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

extern char __start_luss_shared[] __attribute__((visibility("hidden"), weak));
extern char __stop_luss_shared[] __attribute__((visibility("hidden"), weak));

namespace cuda_on_cpu {

struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

constexpr unsigned char POISON = 0xA5;
constexpr size_t PAGE = 4096, STACK = 64 << 10;

// Bytes that end where an unmapped page begins (up to the alignment), with another before them and a checked filling in between.
class GuardedBytes {
  public:
    explicit GuardedBytes(size_t size, size_t alignment = 16) : size_(size) {
        room_ = (size + alignment + PAGE - 1) / PAGE * PAGE;
        base_ = static_cast<unsigned char*>(mmap(nullptr, room_ + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base_ == MAP_FAILED || mprotect(base_ + PAGE, room_, PROT_READ | PROT_WRITE) != 0) throw Fault("no memory for a guarded array");
        std::memset(base_ + PAGE, POISON, room_);
        data_ = base_ + PAGE + (room_ - size) / alignment * alignment;
    }
    GuardedBytes(const GuardedBytes&) = delete;
    ~GuardedBytes() { munmap(base_, room_ + 2 * PAGE); }
    unsigned char* data() { return data_; }
    size_t size() const { return size_; }
    void check(const char* name) const {
        const auto poisoned = [](unsigned char c) { return c == POISON; };
        if (!std::all_of(base_ + PAGE, data_, poisoned)) throw Fault(std::string("written before the start of ") + name);
        if (!std::all_of(data_ + size_, base_ + PAGE + room_, poisoned)) throw Fault(std::string("written past the end of ") + name);
    }

  private:
    size_t size_, room_;
    unsigned char *base_, *data_;
};

template <class T> class Guarded {
  public:
    explicit Guarded(size_t count) : bytes_(count * sizeof(T), alignof(T)) {}
    Guarded(const void* from, size_t count) : Guarded(count) { std::memcpy(bytes_.data(), from, bytes_.size()); }
    T* data() { return reinterpret_cast<T*>(bytes_.data()); }
    void copy_to(void* to, const char* name) {
        bytes_.check(name);
        std::memcpy(to, bytes_.data(), bytes_.size());
    }

  private:
    GuardedBytes bytes_;
};

enum Order { FORWARD, REVERSE, RANDOM };
inline Order& order() {
    static Order chosen = FORWARD;
    return chosen;
}

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

struct Fiber {
    ucontext_t context;
    State state;
    unsigned mask; // lanes of the warp operation it waits in
    int site;      // which one
    uint64_t slot; // what it gives to it
    uint3 index;
    int number;
};

struct Machine {
    std::vector<Fiber> fibers;
    std::vector<char> stacks;
    Fiber* current = nullptr;
    ucontext_t scheduler;
    const std::function<void()>* body = nullptr;
    uint3 block;
    dim3 block_size, grid_size;
    unsigned char* dynamic = nullptr;
    sigjmp_buf escape;
};
inline Machine& machine() {
    static Machine m;
    return m;
}
inline unsigned char* dynamic_shared() { return machine().dynamic; }

inline std::string where() {
    const Machine& m = machine();
    const auto text = [](uint3 i) { return "(" + std::to_string(i.x) + "," + std::to_string(i.y) + "," + std::to_string(i.z) + ")"; };
    return " in block " + text(m.block) + (m.current ? ", thread " + text(m.current->index) : "");
}

inline void wait(State state, unsigned mask = 0, int site = 0) {
    Machine& m = machine();
    Fiber* self = m.current;
    self->state = state, self->mask = mask, self->site = site;
    swapcontext(&self->context, &m.scheduler);
}

inline void run_fiber() {
    Machine& m = machine();
    (*m.body)();
    m.current->state = DONE;
    swapcontext(&m.current->context, &m.scheduler);
}

// Lets the warps go on whose waiting lanes are complete; true where any did.
inline bool release_warps(std::vector<Fiber>& fibers) {
    bool moved = false;
    for (Fiber& fiber : fibers) {
        if (fiber.state != AT_WARP_BARRIER) continue;
        const int first = fiber.number / 32 * 32;
        bool complete = true;
        for (int lane = 0; lane < 32; ++lane) {
            if (!(fiber.mask >> lane & 1) || first + lane >= static_cast<int>(fibers.size())) continue;
            const Fiber& other = fibers[first + lane];
            complete &= other.state == AT_WARP_BARRIER && other.mask == fiber.mask && other.site == fiber.site;
        }
        if (!complete) continue;
        const unsigned mask = fiber.mask;
        for (int lane = 0; lane < 32 && first + lane < static_cast<int>(fibers.size()); ++lane)
            if (mask >> lane & 1) fibers[first + lane].state = READY;
        moved = true;
    }
    return moved;
}

inline void run_block(std::mt19937& random) {
    Machine& m = machine();
    const int threads = m.block_size.x * m.block_size.y * m.block_size.z;
    m.fibers.resize(threads);
    m.stacks.resize(STACK * threads);
    for (int i = 0; i < threads; ++i) {
        Fiber& fiber = m.fibers[i];
        fiber.number = i, fiber.state = READY;
        fiber.index = {i % m.block_size.x, i / m.block_size.x % m.block_size.y, i / m.block_size.x / m.block_size.y};
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = m.stacks.data() + STACK * i;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, run_fiber, 0);
    }
    std::vector<int> turns(threads);
    std::iota(turns.begin(), turns.end(), 0);
    if (order() == REVERSE) std::reverse(turns.begin(), turns.end());
    for (;;) {
        if (order() == RANDOM) std::shuffle(turns.begin(), turns.end(), random);
        for (int i : turns) {
            if (m.fibers[i].state != READY) continue;
            m.current = &m.fibers[i];
            swapcontext(&m.scheduler, &m.current->context);
        }
        m.current = nullptr;
        const auto in = [&](State state) { return std::count_if(m.fibers.begin(), m.fibers.end(), [&](const Fiber& f) { return f.state == state; }); };
        if (in(DONE) == threads) return;
        bool moved = release_warps(m.fibers);
        if (in(AT_BLOCK_BARRIER) == threads) {
            for (Fiber& fiber : m.fibers) fiber.state = READY;
            moved = true;
        }
        if (!moved) throw Fault("a barrier or warp operation that not all its threads reach" + where());
    }
}

inline void on_fault(int) { siglongjmp(machine().escape, 1); }

// Runs the whole grid. Throws Fault for memory outside a guarded array and for barriers that some threads miss.
inline void launch(const char* name, dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
    Machine& m = machine();
    if (block.x * block.y * block.z > 1024 || shared_bytes > 48 << 10) throw Fault(std::string(name) + ": over 1024 threads or 48 kB of shared memory");
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
        failure = "memory outside an array" + where();
    }
    sigaction(SIGSEGV, &before[0], nullptr);
    sigaction(SIGBUS, &before[1], nullptr);
    m.current = nullptr;
    if (!failure.empty()) throw Fault(std::string(name) + ": " + failure);
}

} // namespace cuda_on_cpu

#include "cuda_names.h"
