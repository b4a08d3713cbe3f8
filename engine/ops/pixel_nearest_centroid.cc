// CPU path of engine.ops.pixel_nearest_centroid: scores of all centroids at the features' resolution. Arguments were checked by the caller.
#include <cmath>
#include <vector>

#include "cpu/gemm_pack.h"
#include "luss/label_plan.h"

using namespace luss;

static_assert(DEPTH_BLOCK == LUSS_SCORE_RUN, "CPU and CUDA must add in the same order: kernels/luss/pixel_nearest_centroid.cuh");

namespace {

constexpr size_t PANEL_BYTES = 400 << 10; // of packed features beside the centroids' 74 KB: within half of 1 MB of L2

template <class T>
void scores_of(const T* features, int64_t n, int depth, int pixels, const float* unit, int classes, float* scores, int threads) {
    const int row_panels = (classes + TILE_ROWS - 1) / TILE_ROWS;
    std::vector<float> rows(static_cast<size_t>(row_panels) * TILE_ROWS * depth);
    pack_rows<TILE_ROWS>(unit, depth, classes, depth, rows.data());
    const size_t panel = static_cast<size_t>(depth) * TILE_COLUMNS;
    const int fit = static_cast<int>(PANEL_BYTES / (panel * sizeof(float))), at_once = fit > 1 ? fit : 1;
    const int step = at_once * TILE_COLUMNS, groups = (pixels + step - 1) / step;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        std::vector<float> columns(panel * at_once), partial(gemm_partial<TILE_ROWS>(at_once));
#pragma omp for schedule(dynamic)
        for (int64_t group = 0; group < n * groups; ++group) {
            const int64_t image = group / groups;
            const int first = static_cast<int>(group % groups) * step, count = pixels - first < step ? pixels - first : step;
            const int panels = (count + TILE_COLUMNS - 1) / TILE_COLUMNS;
            const T* from = features + image * depth * pixels + first;
            for (int j = 0; j < panels; ++j)
                pack_columns(from + j * TILE_COLUMNS, pixels, count - j * TILE_COLUMNS, depth, columns.data() + j * panel);
            float* to = scores + image * classes * pixels + first;
            const auto done = [&](int i, int j, const tile<TILE_ROWS>& sum) {
                const int left = count - j * TILE_COLUMNS, wide = left < TILE_COLUMNS ? left : TILE_COLUMNS;
                for (int r = 0; r < TILE_ROWS && i * TILE_ROWS + r < classes; ++r)
                    std::memcpy(to + static_cast<int64_t>(i * TILE_ROWS + r) * pixels + j * TILE_COLUMNS, sum.at[r], sizeof(float) * wide);
            };
            gemm_block<fp32_product, TILE_ROWS>(rows.data(), row_panels, columns.data(), panels, depth, partial.data(), done);
        }
    }
}

} // namespace

// unit (classes, depth): the rows divided by their length, in double, or by 1e-12 where that is more.
extern "C" void luss_unit_rows_cpu(const float* rows, int64_t classes, int64_t depth, float* unit) {
    for (int64_t k = 0; k < classes; ++k) {
        const float* row = rows + k * depth;
        double sums[8] = {}; // side by side, for the vector unit
        for (int64_t i = 0; i < depth; ++i) sums[i % 8] += static_cast<double>(row[i]) * row[i];
        double square = 0;
        for (double sum : sums) square += sum;
        const double length = std::sqrt(square) > 1e-12 ? std::sqrt(square) : 1e-12;
        for (int64_t i = 0; i < depth; ++i) unit[k * depth + i] = static_cast<float>(row[i] / length);
    }
}

// features (n, depth, pixels) float32, or float16 where half; unit (classes, depth); scores (n, classes, pixels) = unit features.
extern "C" void luss_centroid_scores_cpu(const void* features, int half, int64_t n, int depth, int pixels, const float* unit, int classes,
                                         float* scores, int threads) {
    if (half)
        scores_of(static_cast<const uint16_t*>(features), n, depth, pixels, unit, classes, scores, threads);
    else
        scores_of(static_cast<const float*>(features), n, depth, pixels, unit, classes, scores, threads);
}
