/* What a row is multiplied by to have unit length (spec/pass.md 5: v / (|v| + 1e-8)), and in how many parts its squares are added: on the CPU and
   on the GPU alike. Plain C++ for g++ and nvcc. */
#pragma once
#include "luss/exact.h"

namespace luss {

constexpr int UNIT_ROW_SUMS = 32; // square p of a row goes to sum p % 32; sum i takes in sum i + 16, then i + 8, 4, 2, 1

LUSS_BOTH double unit_row_scale(double squares) { return luss_div(1.0, luss_add(luss_sqrt(squares), 1e-8)); }

} // namespace luss
