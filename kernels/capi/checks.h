/* Checks of a C function's arguments. The first that fails is kept, the rest are skipped; `launch` runs the kernels where none failed. */
#pragma once
#include <cstddef>
#include <cstdint>

#include "capi/luss_kernels.h"
#include "luss/launch.h"

namespace luss {
namespace capi {

/* Keeps the message for luss_last_error; returns `code`. */
int fail(int code, const char* format, ...) __attribute__((format(printf, 2, 3)));

class checks {
  public:
    explicit checks(const char* function) : function_(function) {}

    checks& range(const char* name, int64_t value, int64_t lowest, int64_t highest);
    checks& between(const char* name, double value, double lowest, double highest); // NaN is outside
    /* value < limit; `what` says what was multiplied */
    checks& below(const char* what, double value, double limit);
    /* A device array of `count` elements: not NULL unless empty, at a multiple of `alignment` bytes, on the GPU of the other arrays. */
    checks& array(const char* name, const void* pointer, int64_t count, int alignment);
    /* A host array, never empty. */
    checks& host(const char* name, const void* pointer);
    /* Memory for `expected` bytes, which luss_<function>_scratch or _plan has told the caller. */
    checks& scratch(const void* pointer, size_t found, size_t expected, int alignment = 16);
    checks& type(const char* name, int value); // LUSS_FLOAT32 or LUSS_FLOAT16
    checks& refuse(const char* complaint);

    bool good() const { return code_ == LUSS_OK; }
    int code() const { return code_; }

    /* `work()` on the GPU on which the arrays lie; `work` returns a cudaError_t. */
    template <class Work> int launch(const Work& work) {
        if (!good()) return code_;
        int before = -1;
        if (!enter(&before)) return code_;
#ifdef LUSS_CUDA_ON_CPU // tests/cuda_on_cpu: what it catches must not pass through C
        cudaError_t error = cudaSuccess;
        try {
            error = work();
        } catch (const cuda_on_cpu::Fault& fault) {
            return code_ = fail(LUSS_CUDA_ERROR, "%s: %s", function_, fault.what());
        }
#else
        const cudaError_t error = work();
#endif
        leave(before);
        return error == cudaSuccess ? LUSS_OK : cuda_failed(error);
    }

  private:
    static constexpr int MOST = 24;
    struct entry {
        const char* name;
        const void* pointer;
    };

    bool enter(int* before); // makes the arrays' GPU the current one
    void leave(int before);
    int cuda_failed(cudaError_t error);

    const char* function_;
    int code_ = LUSS_OK, count_ = 0;
    entry arrays_[MOST];
};

} // namespace capi
} // namespace luss
