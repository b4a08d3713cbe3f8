// kernels/luss/pixel_nearest_centroid.cuh on the CPU, between guards; called by tests/engine/ops/test_pixel_nearest_centroid_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/pixel_nearest_centroid.cuh"

using cuda_on_cpu::Guarded;

namespace {

template <class T>
void run(const void* features, const float* unit, int depth, const luss_label_task& task, const luss_label_plan* plans, const float* attention,
         int64_t taps, int64_t pixels, float* scores, int32_t* out) {
    const size_t small = static_cast<size_t>(task.n) * task.height * task.width;
    Guarded<T> x(features, small * depth);
    Guarded<float> rows(unit, static_cast<size_t>(task.classes) * depth), made(small * task.classes);
    Guarded<luss_label_plan> table(plans, task.n);
    Guarded<float> gate(attention, static_cast<size_t>(task.n) * task.attention_height * task.attention_width);
    Guarded<luss_tap> scratch(taps);
    Guarded<int32_t> result(pixels);
    luss::pixel_nearest_centroid(x.data(), rows.data(), depth, task, table.data(), gate.data(), made.data(), scratch.data(), result.data(), nullptr);
    made.copy_to(scores, "scores");
    result.copy_to(out, "out");
}

} // namespace

extern "C" int luss_emulate_pixel_nearest_centroid(const void* features, int half, const float* unit, int depth, const luss_label_task* task,
                                                   const luss_label_plan* plans, const float* attention, int64_t taps, int64_t pixels, float* scores,
                                                   int32_t* out, int order, char* message, int room) {
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        if (half)
            run<__half>(features, unit, depth, *task, plans, attention, taps, pixels, scores, out);
        else
            run<float>(features, unit, depth, *task, plans, attention, taps, pixels, scores, out);
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
