// kernels/luss/upsample_argmax.cuh on the CPU, between guards; called by tests/engine/ops/test_upsample_argmax_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/upsample_argmax.cuh"

using cuda_on_cpu::Guarded;

namespace {

template <class T>
void run(const void* logits, const luss_label_task& task, const luss_label_plan* plans, const float* attention, int64_t taps, int64_t pixels,
         int32_t* out) {
    Guarded<T> x(logits, static_cast<size_t>(task.n) * task.classes * task.height * task.width);
    Guarded<luss_label_plan> table(plans, task.n);
    Guarded<float> gate(attention, static_cast<size_t>(task.n) * task.attention_height * task.attention_width);
    Guarded<luss_tap> scratch(taps);
    Guarded<int32_t> result(pixels);
    luss::upsample_argmax(x.data(), task, table.data(), gate.data(), scratch.data(), result.data(), nullptr);
    result.copy_to(out, "out");
    std::vector<luss_tap> made(taps);
    scratch.copy_to(made.data(), "taps");
}

} // namespace

extern "C" int luss_emulate_upsample_argmax(const void* logits, int half, const luss_label_task* task, const luss_label_plan* plans,
                                            const float* attention, int64_t taps, int64_t pixels, int32_t* out, int order, char* message, int room) {
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        if (half)
            run<__half>(logits, *task, plans, attention, taps, pixels, out);
        else
            run<float>(logits, *task, plans, attention, taps, pixels, out);
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
