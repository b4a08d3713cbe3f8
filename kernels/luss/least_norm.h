// What shorter vectors are divided by, as in normalize(): on the CPU and on the GPU alike.
#pragma once

namespace luss {

constexpr float LEAST_NORM = 1e-12f;

} // namespace luss
