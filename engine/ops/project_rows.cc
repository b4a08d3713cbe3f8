/* CPU path of engine.ops.project_rows: (x - mean) basis with cpu/gemm_tile.h. The basis is the packed left factor, whose numbers are broadcast;
   a block of rows is transposed into the right factor's panels, where the mean is taken off, so that what a lane computes is one row's. Finished
   tiles are turned over into `out`. A row's result depends on the row alone: not on the block, the threads, or its place in a panel. */
#include <omp.h>

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "cpu/gemm_pack.h"

namespace luss {
namespace {

constexpr size_t BLOCK_BYTES = 512 << 10; // of packed rows: half of a usual L2
constexpr int MOST_PANELS = 8;

struct projection {
    const float *mean, *basis; // (d), (d, p)
    int d, p;
};

struct space {
    std::vector<float> packed, partial;
    space(int panels, int d) : packed(static_cast<size_t>(panels) * TILE_COLUMNS * d), partial(gemm_partial<TILE_ROWS>(panels)) {}
};

template <class T> void pack(const T* x, int count, const projection& by, float* to) {
    for (int first = 0; first < count; first += TILE_COLUMNS, to += static_cast<size_t>(by.d) * TILE_COLUMNS) {
        const int have = std::min(TILE_COLUMNS, count - first);
        const T* from[TILE_COLUMNS];
        for (int j = 0; j < have; ++j) from[j] = x + static_cast<int64_t>(first + j) * by.d;
        pack_vectors(from, have, by.d, to, static_cast<int64_t>(LANES) * by.d);
        for (int q = 0; q < by.d; ++q)
            for (int half = 0; half < 2; ++half) {
                float* at = to + static_cast<size_t>(q) * TILE_COLUMNS + half * LANES;
                store(at, load<vf>(at) - broadcast(by.mean[q]));
            }
    }
}

template <class T> void run(const T* x, int64_t n, const projection& by, float* out, int threads) {
    const int left = (by.p + TILE_ROWS - 1) / TILE_ROWS;
    std::vector<float> turned(static_cast<size_t>(by.p) * by.d), factor(static_cast<size_t>(left) * TILE_ROWS * by.d);
    for (int q = 0; q < by.d; ++q)
        for (int j = 0; j < by.p; ++j) turned[static_cast<size_t>(j) * by.d + q] = by.basis[static_cast<size_t>(q) * by.p + j];
    pack_rows<TILE_ROWS>(turned.data(), by.d, by.p, by.d, factor.data());
    const int panels = static_cast<int>(std::max<size_t>(1, std::min<size_t>(MOST_PANELS, BLOCK_BYTES / (sizeof(float) * TILE_COLUMNS * by.d))));
    std::vector<std::unique_ptr<space>> spaces;
    for (int t = 0; t < threads; ++t) spaces.emplace_back(new space(panels, by.d));
    const int64_t step = static_cast<int64_t>(panels) * TILE_COLUMNS;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t first = 0; first < n; first += step) {
        space& own = *spaces[omp_get_thread_num()];
        const int count = static_cast<int>(std::min(step, n - first));
        pack(x + first * by.d, count, by, own.packed.data());
        const auto done = [&](int i, int j, const tile<TILE_ROWS>& sum) {
            float numbers[TILE_ROWS][TILE_COLUMNS];
            std::memcpy(numbers, sum.at, sizeof numbers);
            const int columns = std::min(TILE_ROWS, by.p - i * TILE_ROWS), rows = std::min(TILE_COLUMNS, count - j * TILE_COLUMNS);
            float* to = out + (first + static_cast<int64_t>(j) * TILE_COLUMNS) * by.p + i * TILE_ROWS;
            for (int row = 0; row < rows; ++row, to += by.p)
                for (int column = 0; column < columns; ++column) to[column] = numbers[column][row];
        };
        gemm_block<fp32_product, TILE_ROWS>(factor.data(), left, own.packed.data(), (count + TILE_COLUMNS - 1) / TILE_COLUMNS, by.d,
                                            own.partial.data(), done);
    }
}

} // namespace
} // namespace luss

// Returns 0, or 1 where memory ran out. All arguments were checked by the caller.
extern "C" int luss_project_rows_cpu(const void* x, int x_half, int64_t n, int d, const float* mean, const float* basis, int p, float* out,
                                     int threads) {
    const luss::projection by{mean, basis, d, p};
    try {
        if (x_half)
            luss::run(static_cast<const uint16_t*>(x), n, by, out, threads);
        else
            luss::run(static_cast<const float*>(x), n, by, out, threads);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
