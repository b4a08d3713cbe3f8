// kernels/luss/resize_crops.cuh on the CPU, between guards; called by tests/engine/ops/test_resize_crops_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/resize_crops.cuh"

using cuda_on_cpu::Guarded;

template <class T>
static void run(const uint8_t* pixels, int64_t length, const luss_image* images, int64_t image_count, const luss_cut* cuts,
                const luss_cut_axes* axes, const int32_t* taps, int64_t tap_count, int n, int height, int width, luss::level_scale norm, void* out) {
    Guarded<uint8_t> source(pixels, length);
    Guarded<luss_image> table(images, image_count);
    Guarded<luss_cut> plan(cuts, n);
    Guarded<luss_cut_axes> places(axes, n);
    Guarded<int32_t> weights(taps, tap_count);
    Guarded<T> result(static_cast<size_t>(3) * n * height * width);
    luss::resize_crops(source.data(), table.data(), plan.data(), places.data(), weights.data(), n, height, width, norm, result.data(), nullptr);
    result.copy_to(out, "out");
}

// type: 0 float32, 1 float16. Returns 0, or 1 with the reason in `message`.
extern "C" int luss_emulate_resize_crops(const uint8_t* pixels, int64_t length, const luss_image* images, int64_t image_count, const luss_cut* cuts,
                                         const luss_cut_axes* axes, const int32_t* taps, int64_t tap_count, int n, int height, int width, int type,
                                         const float* scale, const float* shift, void* out, int order, char* message, int room) {
    luss::level_scale norm;
    std::copy(scale, scale + 3, norm.scale);
    std::copy(shift, shift + 3, norm.shift);
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        (type == 0 ? run<float> : run<__half>)(pixels, length, images, image_count, cuts, axes, taps, tap_count, n, height, width, norm, out);
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
