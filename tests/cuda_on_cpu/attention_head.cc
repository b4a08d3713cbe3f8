// kernels/luss/attention_head.cuh and attention_head_half.cuh on the CPU, between guards; called by tests/engine/ops/test_attention_head_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/attention_head_half.cuh"

using cuda_on_cpu::Guarded;

// half: the tensor cores' kernel. pooled and attention: null where not wanted. scratch: floats that the caller would allocate.
extern "C" int luss_emulate_attention_head(const float* features, const float* weight1, const float* scale1, const float* shift1,
                                           const float* weight2, const float* scale2, const float* shift2, int n, int c, int h, int w,
                                           int64_t scratch, int half, float* pooled, float* attention, int order, char* message, int room) {
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        const size_t square = static_cast<size_t>(c) * c;
        const size_t needed = half ? luss::attention_head_half_scratch(n, c, h, w) : luss::attention_head_scratch(n, c, h, w);
        if (static_cast<size_t>(scratch) != needed) throw cuda_on_cpu::Fault("the caller counts the scratch otherwise");
        Guarded<float> f(features, static_cast<size_t>(n) * c * h * w), w1(weight1, square), a1(scale1, c), b1(shift1, c), w2(weight2, square);
        Guarded<float> a2(scale2, c), b2(shift2, c), vectors(static_cast<size_t>(n) * c), maps(static_cast<size_t>(16) * n * h * w);
        cuda_on_cpu::GuardedBytes room_for(scratch * sizeof(float), 16); // aligned for its quads, as an allocator would
        const auto launch = half ? luss::attention_head_half : luss::attention_head;
        launch(f.data(), w1.data(), a1.data(), b1.data(), w2.data(), a2.data(), b2.data(), n, c, h, w, pooled ? vectors.data() : nullptr,
               attention ? maps.data() : nullptr, reinterpret_cast<float*>(room_for.data()), nullptr);
        room_for.check("scratch");
        if (pooled) vectors.copy_to(pooled, "pooled");
        if (attention) maps.copy_to(attention, "attention");
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
