/* Arithmetic that rounds after every operation, on CPU and GPU alike: nvcc would contract a * b + c, and Jittor hands it --use_fast_math.
   g++ must be given -ffp-contract=off. Plain C++ for g++ and nvcc. */
#pragma once
#include <cmath>

#include "luss/crop_table.h"

#ifdef __CUDA_ARCH__
LUSS_BOTH float luss_add(float a, float b) { return __fadd_rn(a, b); }
LUSS_BOTH float luss_mul(float a, float b) { return __fmul_rn(a, b); }
LUSS_BOTH float luss_div(float a, float b) { return __fdiv_rn(a, b); }
LUSS_BOTH double luss_add(double a, double b) { return __dadd_rn(a, b); }
LUSS_BOTH double luss_mul(double a, double b) { return __dmul_rn(a, b); }
LUSS_BOTH double luss_div(double a, double b) { return __ddiv_rn(a, b); }
LUSS_BOTH double luss_sqrt(double a) { return __dsqrt_rn(a); }
#else
LUSS_BOTH float luss_add(float a, float b) { return a + b; }
LUSS_BOTH float luss_mul(float a, float b) { return a * b; }
LUSS_BOTH float luss_div(float a, float b) { return a / b; }
LUSS_BOTH double luss_add(double a, double b) { return a + b; }
LUSS_BOTH double luss_mul(double a, double b) { return a * b; }
LUSS_BOTH double luss_div(double a, double b) { return a / b; }
LUSS_BOTH double luss_sqrt(double a) { return sqrt(a); }
#endif

namespace luss {

/* One number of that arithmetic: what pixel_colour.h is written for, besides the CPU's vectors. */
struct exact {
    float v;
};
LUSS_BOTH exact constant(float x, exact) { return exact{x}; }
LUSS_BOTH exact operator+(exact a, exact b) { return exact{luss_add(a.v, b.v)}; }
LUSS_BOTH exact operator-(exact a, exact b) { return exact{luss_add(a.v, -b.v)}; }
LUSS_BOTH exact operator*(exact a, exact b) { return exact{luss_mul(a.v, b.v)}; }
LUSS_BOTH exact operator/(exact a, exact b) { return exact{luss_div(a.v, b.v)}; }
LUSS_BOTH exact operator+(exact a, float b) { return a + exact{b}; }
LUSS_BOTH exact operator-(exact a, float b) { return a - exact{b}; }
LUSS_BOTH exact operator*(exact a, float b) { return a * exact{b}; }
LUSS_BOTH exact operator/(exact a, float b) { return a / exact{b}; }
LUSS_BOTH exact operator-(float a, exact b) { return exact{a} - b; }
LUSS_BOTH exact operator*(float a, exact b) { return exact{a} * b; }
LUSS_BOTH exact operator-(exact a) { return exact{-a.v}; }
LUSS_BOTH bool operator==(exact a, exact b) { return a.v == b.v; }
LUSS_BOTH bool operator<(exact a, float b) { return a.v < b; }
LUSS_BOTH exact select(bool yes, exact a, exact b) { return yes ? a : b; }
LUSS_BOTH exact least(exact a, exact b) { return a.v < b.v ? a : b; }
LUSS_BOTH exact most(exact a, exact b) { return a.v > b.v ? a : b; }
LUSS_BOTH exact whole(exact a) { return exact{static_cast<float>(static_cast<int>(a.v))}; }

} // namespace luss
