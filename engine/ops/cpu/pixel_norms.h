// Length of each pixel's vector over channels, of a map enlarged four times that is never stored. Also the number of the calling thread.
#pragma once
#if defined(_OPENMP)
#include <omp.h>
#endif

#include <cmath>

#include "enlarge4.h"
#include "luss/least_norm.h"

namespace luss {

inline int thread_number() {
#if defined(_OPENMP)
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/* norms (n, 4h, 4w) = max(|u|, 1e-12). The squares of the enlarged values themselves are added: from the inner products of neighbours
   (4 x 5 of them a pixel) it would be cheaper still, but where neighbours point away from each other the difference cancels, and u / |u|
   would leave the unit sphere. Sums of 32 channels first, then of those, so the relative error is at most (32 + c / 32 + 3) 2^-24, and half of
   it after the root. A pixel's sum does not depend on the pieces. */
inline void pixel_norms(const float* features, int64_t n, int64_t c, int h, int w, float* norms, int threads) {
    const int64_t small = static_cast<int64_t>(h) * w, pixels = 16 * small;
    if (n == 0) return;
    const int pieces = static_cast<int>(std::min<int64_t>(h, n >= threads ? 1 : (threads + n - 1) / n));
    struct scratch {
        enlarger4 enlarge;
        std::vector<float> u, block;
    };
    const scratch one{enlarger4(h, w), std::vector<float>(pixels + LANES), std::vector<float>(pixels)};
    std::vector<scratch> own(threads, one);
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (int64_t image = 0; image < n; ++image)
        for (int piece = 0; piece < pieces; ++piece) {
            scratch& mine = own[thread_number()];
            const int first = h * piece / pieces, last = h * (piece + 1) / pieces;
            const int64_t count = int64_t{16} * w * (last - first);
            float* total = norms + image * pixels + int64_t{16} * w * first;
            float* block = mine.block.data();
            std::fill(total, total + count, 0.0f);
            for (int64_t begin = 0; begin < c; begin += 32) {
                std::fill(block, block + count, 0.0f);
                for (int64_t channel = begin; channel < std::min(begin + 32, c); ++channel) {
                    mine.enlarge.rows(features + (image * c + channel) * small, 4 * first, 4 * last, mine.u.data());
                    for (int64_t p = 0; p < count; p += LANES) {
                        const vf u = load<vf>(mine.u.data() + p);
                        store(block + p, fused(u, u, load<vf>(block + p)));
                    }
                }
                for (int64_t p = 0; p < count; p += LANES) store(total + p, load<vf>(total + p) + load<vf>(block + p));
            }
            for (int64_t p = 0; p < count; ++p) total[p] = total[p] < LEAST_NORM * LEAST_NORM ? LEAST_NORM : std::sqrt(total[p]);
        }
}

} // namespace luss
