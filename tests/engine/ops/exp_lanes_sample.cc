// For test_upsample_cross_entropy.py: exp_lanes of an array, whose length is a multiple of 16.
#include "cpu/exp_lanes.h"

extern "C" void luss_sample_exp(const float* x, float* out, int64_t count) {
    for (int64_t i = 0; i < count; i += luss::LANES) luss::store(out + i, luss::exp_lanes(luss::load<luss::vf>(x + i)));
}
