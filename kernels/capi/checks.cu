/* The messages of failed checks, and the library's version. */
#include "capi/checks.h"

#include <cinttypes>
#include <cstdarg>
#include <cstdio>

namespace luss {
namespace capi {

static char* message() {
    static thread_local char text[512] = "";
    return text;
}

int fail(int code, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message(), 512, format, arguments);
    va_end(arguments);
    return code;
}

checks& checks::range(const char* name, int64_t value, int64_t lowest, int64_t highest) {
    if (good() && (value < lowest || value > highest))
        code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected %" PRId64 "..%" PRId64 ", found %" PRId64, function_, name, lowest, highest, value);
    return *this;
}

checks& checks::between(const char* name, double value, double lowest, double highest) {
    if (good() && !(value >= lowest && value <= highest))
        code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected %g..%g, found %g", function_, name, lowest, highest, value);
    return *this;
}

checks& checks::below(const char* what, double value, double limit) {
    if (good() && !(value < limit))
        code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected less than %.0f, found %.0f; split the call", function_, what, limit, value);
    return *this;
}

checks& checks::array(const char* name, const void* pointer, int64_t count, int alignment) {
    if (!good() || count == 0) return *this;
    if (pointer == nullptr) {
        code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected a device pointer, found NULL", function_, name);
    } else if (reinterpret_cast<uintptr_t>(pointer) % alignment != 0) {
        code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected an address divisible by %d, found %p", function_, name, alignment, pointer);
    } else if (count_ < MOST) {
        arrays_[count_++] = {name, pointer};
    }
    return *this;
}

checks& checks::host(const char* name, const void* pointer) {
    if (good() && pointer == nullptr) code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected a host pointer, found NULL", function_, name);
    return *this;
}

checks& checks::scratch(const void* pointer, size_t found, size_t expected, int alignment) {
    if (good() && found < expected)
        code_ = fail(LUSS_BAD_ARGUMENT, "%s: scratch_bytes: expected at least %zu, found %zu", function_, expected, found);
    return array("scratch", pointer, static_cast<int64_t>(expected), alignment);
}

checks& checks::type(const char* name, int value) {
    if (good() && value != LUSS_FLOAT32 && value != LUSS_FLOAT16)
        code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected LUSS_FLOAT32 (0) or LUSS_FLOAT16 (1), found %d", function_, name, value);
    return *this;
}

checks& checks::refuse(const char* complaint) {
    if (good()) code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s", function_, complaint);
    return *this;
}

int checks::cuda_failed(cudaError_t error) {
    return code_ = fail(LUSS_CUDA_ERROR, "%s: %s", function_, cudaGetErrorString(error));
}

#ifdef LUSS_CUDA_ON_CPU // tests/cuda_on_cpu: there is one device, and every pointer is on it
bool checks::enter(int*) { return true; }
void checks::leave(int) {}
#else
bool checks::enter(int* before) {
    int device = -1;
    for (int i = 0; i < count_; ++i) {
        cudaPointerAttributes where;
        const cudaError_t error = cudaPointerGetAttributes(&where, arrays_[i].pointer);
        if (error != cudaSuccess) {
            cudaGetLastError(); // or the next launch would report it
            return cuda_failed(error), false;
        }
        if (where.type != cudaMemoryTypeDevice && where.type != cudaMemoryTypeManaged) {
            code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected memory of a GPU, found host memory at %p", function_, arrays_[i].name, arrays_[i].pointer);
            return false;
        }
        if (device >= 0 && where.device != device && where.type == cudaMemoryTypeDevice) {
            code_ = fail(LUSS_BAD_ARGUMENT, "%s: %s: expected memory of GPU %d, as %s, found GPU %d", function_, arrays_[i].name, device, arrays_[0].name,
                         where.device);
            return false;
        }
        if (device < 0) device = where.device;
    }
    cudaError_t error = cudaGetDevice(before);
    if (error == cudaSuccess && device >= 0 && device != *before) error = cudaSetDevice(device);
    if (error == cudaSuccess) return true;
    cudaGetLastError();
    return cuda_failed(error), false;
}

void checks::leave(int before) {
    int now = before;
    if (cudaGetDevice(&now) == cudaSuccess && now != before) cudaSetDevice(before);
}
#endif

} // namespace capi
} // namespace luss

extern "C" const char* luss_version(void) { return LUSS_KERNELS_VERSION; }
extern "C" const char* luss_last_error(void) { return luss::capi::message(); }
