// kernels/luss/unit_rows.cuh on the CPU, between guards; called by tests/engine/ops/test_unit_rows_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/unit_rows.cuh"

using cuda_on_cpu::Guarded;

// form: 0 squares alone, 1 into another array, 2 in place (float32).
template <class X> static void run(const X* x, int64_t n, int d, int form, float* out, double* squares) {
    Guarded<X> rows(x, n * d);
    Guarded<float> unit(form == 1 ? n * d : 1);
    Guarded<double> square(n);
    float* to = form == 0 ? nullptr : form == 1 ? unit.data() : reinterpret_cast<float*>(rows.data());
    if (luss::unit_rows(rows.data(), sizeof(X) == 2, n, d, to, square.data(), nullptr) != cudaSuccess)
        throw cuda_on_cpu::Fault("unit_rows refused its arguments");
    square.copy_to(squares, "squares");
    if (form == 1) unit.copy_to(out, "out");
    if (form == 2) rows.copy_to(reinterpret_cast<X*>(out), "x");
}

extern "C" int luss_emulate_unit_rows(const void* x, int x_half, int64_t n, int d, int form, float* out, double* squares, int order, char* message,
                                      int room) {
    return cuda_on_cpu::guarded(
        [=] {
            if (x_half) run(static_cast<const __half*>(x), n, d, form, out, squares);
            else run(static_cast<const float*>(x), n, d, form, out, squares);
        },
        order, message, room);
}
