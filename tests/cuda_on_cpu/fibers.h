// CUDA threads as fibers of one CPU thread: a block's threads run in turn, each until a barrier, a warp operation or its end.
#pragma once
#include <csetjmp>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "guarded.h"
#include "vector_types.h"

#ifdef __x86_64__
// Saves what a function call keeps and goes on where `to` was saved: 5 ns, against the microsecond of swapcontext with its system calls.
extern "C" void luss_switch_stack(void** from, void* to) __attribute__((visibility("hidden")));
asm(R"(
.text
.hidden luss_switch_stack
.type luss_switch_stack, @function
luss_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size luss_switch_stack, .-luss_switch_stack
)");
#else
#include <ucontext.h>
#endif

namespace cuda_on_cpu {

constexpr size_t STACK = 64 << 10;

#ifdef __x86_64__
struct Context {
    void* top = nullptr;
    void prepare(unsigned char* stack, size_t size, void (*entry)()) {
        unsigned char* end = stack + size - reinterpret_cast<uintptr_t>(stack + size) % 16;
        void** frame = reinterpret_cast<void**>(end - 16) - 6; // six registers, then where `ret` goes; the stack is then as after a call
        std::fill(frame, frame + 6, nullptr);
        frame[6] = reinterpret_cast<void*>(entry);
        top = frame;
    }
};
inline void switch_context(Context& from, Context& to) { luss_switch_stack(&from.top, to.top); }
#else
struct Context {
    ucontext_t saved;
    void prepare(unsigned char* stack, size_t size, void (*entry)()) {
        getcontext(&saved);
        saved.uc_stack.ss_sp = stack;
        saved.uc_stack.ss_size = size;
        saved.uc_link = nullptr;
        makecontext(&saved, entry, 0);
    }
};
inline void switch_context(Context& from, Context& to) { swapcontext(&from.saved, &to.saved); }
#endif

enum Order { FORWARD, REVERSE, RANDOM };
inline Order& order() {
    static Order chosen = FORWARD;
    return chosen;
}

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, DONE };

// A copy to shared memory that was begun and has not been waited for; `group` counts the thread's commits before it.
struct LateCopy {
    void* to;
    const void* from;
    int bytes, group;
};

struct Fiber {
    Context context;
    State state;
    unsigned mask; // lanes of the warp operation it waits in
    int site;      // which one
    uint64_t slot; // what it gives to it
    uint3 index;
    int number;
    std::vector<LateCopy> copies;
    int groups;
};

struct Machine {
    std::vector<Fiber> fibers;
    std::vector<unsigned char> stacks;
    Fiber* current = nullptr;
    Context scheduler;
    const std::function<void()>* body = nullptr;
    uint3 block;
    dim3 block_size, grid_size;
    unsigned char* dynamic = nullptr;
    long long block_votes = 0; // sum of what the threads of the last block barrier gave
    sigjmp_buf escape;
};
inline Machine& machine() {
    static Machine m;
    return m;
}

inline std::string where() {
    const Machine& m = machine();
    const auto text = [](uint3 i) { return "(" + std::to_string(i.x) + "," + std::to_string(i.y) + "," + std::to_string(i.z) + ")"; };
    return " in block " + text(m.block) + (m.current ? ", thread " + text(m.current->index) : "");
}

inline void wait(State state, unsigned mask = 0, int site = 0) {
    Machine& m = machine();
    Fiber* self = m.current;
    self->state = state, self->mask = mask, self->site = site;
    switch_context(self->context, m.scheduler);
}

inline void run_fiber() {
    Machine& m = machine();
    (*m.body)();
    m.current->state = DONE;
    switch_context(m.current->context, m.scheduler);
}

// Lets the lanes of a warp go on whose warp operation all have reached; true where any did.
inline bool release_warp(Fiber* fibers, int lanes) {
    bool moved = false;
    unsigned seen = 0; // lanes whose group has been looked at
    for (int lane = 0; lane < lanes; ++lane) {
        const Fiber& fiber = fibers[lane];
        if (fiber.state != AT_WARP_BARRIER || (seen >> lane & 1)) continue;
        const unsigned mask = fiber.mask;
        const int site = fiber.site;
        bool complete = true;
        for (int i = 0; i < lanes && complete; ++i)
            if (mask >> i & 1) complete = fibers[i].state == AT_WARP_BARRIER && fibers[i].mask == mask && fibers[i].site == site;
        seen |= complete ? mask : 1u << lane;
        if (!complete) continue;
        for (int i = 0; i < lanes; ++i)
            if (mask >> i & 1) fibers[i].state = READY;
        moved = true;
    }
    return moved;
}

// Runs the threads whose turns these are, those that may run, once.
inline void run_turns(const int* turns, int count) {
    Machine& m = machine();
    for (int i = 0; i < count; ++i) {
        if (m.fibers[turns[i]].state != READY) continue;
        m.current = &m.fibers[turns[i]];
        switch_context(m.scheduler, m.current->context);
    }
    m.current = nullptr;
}

inline void run_block(std::mt19937& random) {
    Machine& m = machine();
    const int threads = m.block_size.x * m.block_size.y * m.block_size.z;
    m.fibers.resize(threads);
    m.stacks.resize(STACK * threads);
    for (int i = 0; i < threads; ++i) {
        Fiber& fiber = m.fibers[i];
        fiber.number = i, fiber.state = READY, fiber.groups = 0;
        fiber.copies.clear();
        fiber.index = {i % m.block_size.x, i / m.block_size.x % m.block_size.y, i / m.block_size.x / m.block_size.y};
        fiber.context.prepare(m.stacks.data() + STACK * i, STACK, run_fiber);
    }
    std::vector<int> turns(threads);
    std::iota(turns.begin(), turns.end(), 0);
    if (order() == REVERSE) std::reverse(turns.begin(), turns.end());
    for (;;) {
        bool moved = false;
        if (order() == RANDOM) { // all warps side by side
            std::shuffle(turns.begin(), turns.end(), random);
            run_turns(turns.data(), threads);
        }
        for (int warp = 0; warp < threads; warp += 32) { // in turn: one warp runs ahead, to the next block barrier, before another begins
            const int first = order() == REVERSE ? (threads - 1 - warp) / 32 * 32 : warp, lanes = std::min(32, threads - first);
            if (order() == RANDOM) {
                moved |= release_warp(&m.fibers[first], lanes);
                continue;
            }
            do {
                run_turns(turns.data() + (order() == REVERSE ? threads - first - lanes : first), lanes);
            } while (release_warp(&m.fibers[first], lanes));
        }
        int done = 0, at_barrier = 0;
        for (const Fiber& fiber : m.fibers) done += fiber.state == DONE, at_barrier += fiber.state == AT_BLOCK_BARRIER;
        if (done == threads) return;
        if (at_barrier == threads) {
            const auto differs = [&](const Fiber& fiber) { return fiber.site != m.fibers[0].site; };
            if (std::any_of(m.fibers.begin(), m.fibers.end(), differs)) throw Fault("threads meet at barriers of different kinds" + where());
            m.block_votes = 0;
            for (Fiber& fiber : m.fibers) m.block_votes += static_cast<long long>(fiber.slot), fiber.state = READY;
            moved = true;
        }
        if (!moved) throw Fault("a barrier or warp operation that not all its threads reach" + where());
    }
}

} // namespace cuda_on_cpu
