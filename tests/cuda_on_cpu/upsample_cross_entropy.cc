// kernels/luss/upsample_cross_entropy.cuh on the CPU, between guards; called by tests/engine/ops/test_upsample_cross_entropy_cuda.py.
// ex2.approx is emulated by exp2f, which is more accurate.
#include "cuda_on_cpu.h"
#include <memory>

#include "luss/upsample_cross_entropy.cuh"

using cuda_on_cpu::Guarded;

struct axis {
    explicit axis(int source, int middle, int target) {
        const std::vector<luss_run> found = luss::axis_runs(source, middle, target, luss::RUN_PIXELS);
        const std::vector<int32_t> starts = luss::axis_windows(found);
        runs.reset(new Guarded<luss_run>(found.data(), found.size()));
        windows.reset(new Guarded<int32_t>(starts.data(), starts.size()));
        count = static_cast<int>(starts.size()) - 1;
    }
    std::unique_ptr<Guarded<luss_run>> runs;
    std::unique_ptr<Guarded<int32_t>> windows;
    int count;
};

template <class T> static void run(const void* logits, const int32_t* labels, const int32_t* s, float* figures, float* gradient) {
    const size_t values = static_cast<size_t>(s[0]) * s[1] * s[2] * s[3], pixels = static_cast<size_t>(s[0]) * s[6] * s[7];
    const bool two_steps = s[4] > 0;
    const axis down(s[2], s[4], s[6]), across(s[3], s[5], s[7]);
    const luss::entropy_sizes sizes = {s[0], s[1], s[2], s[3], s[6], s[7], down.count, across.count, s[8] != 0, s[9]};
    Guarded<T> source(logits, values);
    Guarded<int32_t> ids(labels, pixels);
    Guarded<float> loss(1), accuracy(1), by_logits(values);
    const int64_t room = luss::upsample_cross_entropy_scratch(s[0], s[1], down.count, across.count, two_steps, gradient != nullptr);
    Guarded<double> scratch((room + 7) / 8);
    float* to = gradient ? by_logits.data() : nullptr;
    luss::upsample_cross_entropy(source.data(), ids.data(), sizes, down.runs->data(), down.windows->data(), across.runs->data(),
                                 across.windows->data(), two_steps, loss.data(), accuracy.data(), to, scratch.data(), nullptr);
    loss.copy_to(figures, "loss");
    accuracy.copy_to(figures + 1, "accuracy");
    if (gradient) by_logits.copy_to(gradient, "gradient");
    std::vector<double> kept((room + 7) / 8);
    scratch.copy_to(kept.data(), "scratch");
}

// sizes: n, K, h, w, middle h and w (0: one step), H, W, has_ignore, ignore, type (0 float32, 1 float16), gradient wanted.
extern "C" int luss_emulate_upsample_cross_entropy(const void* logits, const int32_t* labels, const int32_t* sizes, float* figures, float* gradient,
                                                   int order, char* message, int room) {
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        (sizes[10] == 0 ? run<float> : run<__half>)(logits, labels, sizes, figures, sizes[11] ? gradient : nullptr);
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
