/* The inner part of matrix products on the CPU: C[i, j] = sum over p of A[i, p] B[p, j], a tile of C at a time in registers, handed to the
   caller's functor when it is finished, so that C need not be stored.

   Both factors come packed (gemm_pack.h): A in panels of ROWS rows, laid out (depth, ROWS) within a block of the depth, whose
   numbers are broadcast; B in panels of TILE_COLUMNS columns, laid out (depth, TILE_COLUMNS), which are read as vectors. Rows and columns that
   fill up the last panels are zeros.

   Registers: ROWS x 2 accumulators, 2 vectors of B, one broadcast: 27 of AVX-512's 32 at ROWS = 12, 15 of AVX2's 16 at ROWS = 6. A step of the
   depth is 2 ROWS fused multiply-adds for 2 vector loads and ROWS broadcasts, so the loads are hidden on all processors with 1 or 2 such units.

   Order of rounding: within DEPTH_BLOCK steps one after another, the blocks' sums then one after another. It depends on the depth alone: neither
   on the number of rows and columns, nor on threads, nor on the place of a row or column in its panel. */
#pragma once
#include <cstddef>
#include <cstdint>

#include "lanes.h"

namespace luss {

constexpr int TILE_COLUMNS = 2 * LANES;
#if defined(__AVX512BW__)
constexpr int TILE_ROWS = 12;
#else
constexpr int TILE_ROWS = 6;
#endif
// A block of B's panel is 24 KB with AVX-512: it stays in 32 KB of L1 beside the 9 KB of A that stream past it.
constexpr int DEPTH_BLOCK = 192;
// Row panels whose blocks (74 KB at most) stay in L2 while all columns of a call go past them.
constexpr int ROW_GROUP = 8;

// A word in all lanes, bit by bit (x + vf{} would cost an addition, and turn -0 into 0).
#if defined(__AVX512BW__)
inline vf broadcast(float x) { return (vf)_mm512_set1_ps(x); }
#elif defined(__AVX2__)
inline vf broadcast(float x) { return (vf)_mm256_set1_ps(x); }
#else
inline vf broadcast(float x) { return vf{x, x, x, x}; }
#endif

// How a word of A and a word of B add to an accumulator, and accumulators to each other; depth counts words.
struct fp32_product {
    static vf add(vf a, vf b) { return a + b; }
    static vf step(vf sum, vf a, vf b) { return fused(a, b, sum); }
};

template <int ROWS> struct tile {
    vf at[ROWS][2];
};

// sum += A B over `depth` words of one panel each.
template <class Product, int ROWS> inline void gemm_tile(const float* __restrict a, const float* __restrict b, int depth, tile<ROWS>& sum) {
    vf acc[ROWS][2];
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) acc[i][0] = sum.at[i][0], acc[i][1] = sum.at[i][1];
#pragma GCC unroll 2
    for (int p = 0; p < depth; ++p) {
        const vf b0 = load<vf>(b), b1 = load<vf>(b + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
            const vf ai = broadcast(a[i]);
            acc[i][0] = Product::step(acc[i][0], ai, b0);
            acc[i][1] = Product::step(acc[i][1], ai, b1);
        }
        a += ROWS;
        b += TILE_COLUMNS;
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) sum.at[i][0] = acc[i][0], sum.at[i][1] = acc[i][1];
}

// Floats of `partial` that gemm_block needs.
template <int ROWS> constexpr size_t gemm_partial(int column_panels) {
    return static_cast<size_t>(column_panels) * ROW_GROUP * ROWS * TILE_COLUMNS;
}

/* All tiles of `row_panels` times `column_panels`, one thread. done(i, j, tile<ROWS>&) is called once for every row panel i and column panel j,
   for each j in order of i. `b` should fit into half of L2: the columns of larger factors are handed over in several calls. `partial` may be null for
   depth <= DEPTH_BLOCK. used(j): row panels that column panel j meets, from the first on. start(j, v): what half v of its sums begins with. */
template <class Product, int ROWS, class Used, class Start, class Done>
inline void gemm_ragged(const float* a, int row_panels, const float* b, int column_panels, int depth, float* partial, Used&& used, Start&& start_of,
                        Done&& done) {
    const size_t b_panel = static_cast<size_t>(depth) * TILE_COLUMNS;
    for (int group = 0; group < row_panels; group += ROW_GROUP) {
        const int group_end = group + ROW_GROUP < row_panels ? group + ROW_GROUP : row_panels;
        for (int start = 0; start < depth || start == 0; start += DEPTH_BLOCK) {
            const bool last = depth - start <= DEPTH_BLOCK;
            const int words = last ? depth - start : DEPTH_BLOCK;
            const float* rows = a + static_cast<size_t>(start) * row_panels * ROWS;
            for (int j = 0; j < column_panels; ++j) {
                const float* columns = b + j * b_panel + static_cast<size_t>(start) * TILE_COLUMNS;
                const int end = used(j) < group_end ? used(j) : group_end;
                for (int i = group; i < end; ++i) {
                    tile<ROWS> sum;
                    const vf low = start == 0 ? start_of(j, 0) : vf{}, high = start == 0 ? start_of(j, 1) : vf{};
#pragma GCC unroll 16
                    for (int at = 0; at < ROWS; ++at) sum.at[at][0] = low, sum.at[at][1] = high;
                    gemm_tile<Product, ROWS>(rows + static_cast<size_t>(i) * words * ROWS, columns, words, sum);
                    if (start > 0 || !last) {
                        float* before = partial + static_cast<size_t>((j * ROW_GROUP) + i - group) * ROWS * TILE_COLUMNS;
#pragma GCC unroll 32
                        for (int v = 0; v < 2 * ROWS; ++v) {
                            vf& part = sum.at[v / 2][v % 2];
                            if (start > 0) part = Product::add(load<vf>(before + v * LANES), part);
                            if (!last) store(before + v * LANES, part);
                        }
                    }
                    if (last) done(i, j, sum);
                }
            }
        }
    }
}

// The same with all row panels for each column panel, and sums from zero.
template <class Product, int ROWS, class Done>
inline void gemm_block(const float* a, int row_panels, const float* b, int column_panels, int depth, float* partial, Done&& done) {
    gemm_ragged<Product, ROWS>(a, row_panels, b, column_panels, depth, partial, [=](int) { return row_panels; }, [](int, int) { return vf{}; }, done);
}

} // namespace luss
