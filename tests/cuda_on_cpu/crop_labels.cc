// kernels/luss/crop_labels.cuh on the CPU, between guards; called by tests/engine/ops/test_crop_labels.py.
#include "cuda_on_cpu.h"
#include "luss/crop_labels.cuh"

using cuda_on_cpu::Guarded;

extern "C" int luss_emulate_crop_labels(const uint8_t* maps, int64_t length, const luss_image* records, int64_t map_count, const int32_t* numbers,
                                        const int32_t* rows, const int32_t* columns, int n, int height, int width, int32_t* out, int order,
                                        char* message, int room) {
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        cuda_on_cpu::GuardedBytes buffer(length, 2);
        std::memcpy(buffer.data(), maps, length);
        Guarded<luss_image> table(records, map_count);
        Guarded<int32_t> which(numbers, n), down(rows, static_cast<size_t>(n) * height), across(columns, static_cast<size_t>(n) * width);
        Guarded<int32_t> result(static_cast<size_t>(n) * height * width);
        luss::crop_labels(buffer.data(), table.data(), which.data(), down.data(), across.data(), n, height, width, result.data(), nullptr);
        result.copy_to(out, "out");
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
