// kernels/luss/augment_crops.cuh on the CPU, between guards; called by tests/engine/ops/test_augment_crops_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/augment_crops.cuh"

using cuda_on_cpu::Guarded;

template <class T>
static void run(const uint8_t* pixels, int64_t length, const luss_image* images, int64_t image_count, const luss_crop* crops, int n, int height,
                int width, int taps, luss::level_scale norm, void* out) {
    Guarded<uint8_t> source(pixels, length);
    Guarded<luss_image> table(images, image_count);
    Guarded<luss_crop> plan(crops, n);
    const size_t count = static_cast<size_t>(3) * n * height * width;
    Guarded<uint8_t> planes(count);
    Guarded<unsigned long long> sums(n);
    Guarded<T> result(count);
    float blur = 0;
    for (int i = 0; i < n; ++i) blur = std::max(blur, crops[i].blur);
    Guarded<int32_t> numbers(luss::crop_table{nullptr, n, height, width, taps}.size());
    luss::augment_crops(source.data(), table.data(), plan.data(), n, height, width, taps, blur, norm, numbers.data(), planes.data(), sums.data(),
                        result.data(), nullptr);
    result.copy_to(out, "out");
}

// type: 0 float32, 1 float16. Returns 0, or 1 with the reason in `message`.
extern "C" int luss_emulate_augment_crops(const uint8_t* pixels, int64_t length, const luss_image* images, int64_t image_count,
                                          const luss_crop* crops, int n, int height, int width, int taps, int type, const float* scale,
                                          const float* shift, void* out, int order, char* message, int room) {
    luss::level_scale norm;
    std::copy(scale, scale + 3, norm.scale);
    std::copy(shift, shift + 3, norm.shift);
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        (type == 0 ? run<float> : run<__half>)(pixels, length, images, image_count, crops, n, height, width, taps, norm, out);
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
