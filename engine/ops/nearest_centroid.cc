/* CPU path of engine.ops.nearest_centroid.

   Threads take blocks of rows in turn. A block is packed once and meets all centroids (of all R sets) tile by tile; top_two.h watches the tiles go
   past. Rows that this does not settle wait until a panel of them is there. They pass by the centroids once more, those within the rounding bound of
   the best are noted, and float64 decides among them. Rows of the bfloat16 pass with too many of these are scored in float32 first. A row's result
   depends on the row and the centroids alone: neither on threads nor on the rows that wait beside it. */
#include <omp.h>

#include <algorithm>
#include <memory>
#include <new>

#include "cpu/centroid_panels.h"
#include "cpu/row_distance.h"
#include "cpu/top_two.h"

namespace luss {
namespace {

constexpr size_t BLOCK_BYTES = 512 << 10; // of packed rows: half of a usual L2 (Zen 4: 1 MB, Xeons since Skylake 1 to 2 MB)
constexpr int MOST_PANELS = 8;
constexpr int MOST_NEAR = 8; // centroids noted for a row

// A row without a label, and the score in the last pass that a centroid must not be below to be its nearest.
struct open_row {
    int64_t row;
    float least;
};

template <int ROWS> struct problem {
    const float* c;
    int64_t n;
    int d, k, r;
    bool cosine, bf16;
    int32_t* label;
    float* score;
    std::vector<centroid_panels<ROWS>> sets;
};

int panels_of_block(int d) {
    return static_cast<int>(std::max<size_t>(1, std::min<size_t>(MOST_PANELS, BLOCK_BYTES / (sizeof(float) * TILE_COLUMNS * d))));
}

template <class T, int ROWS> class worker {
public:
    worker(const problem<ROWS>& given, const T* x)
        : given(given), x(x), panels(panels_of_block(given.d)), packed(static_cast<size_t>(panels) * TILE_COLUMNS * given.d),
          partial(gemm_partial<ROWS>(panels)), limits(static_cast<size_t>(panels) * TILE_COLUMNS), states(panels),
          left_by_bf16(given.r), left_by_fp32(given.r), crowded(given.r) {
        // No list grows beyond what a block and a panel add before it is emptied: nothing is allocated, and nothing can fail, in the threads.
        for (int r = 0; r < given.r; ++r) {
            left_by_bf16[r].reserve((panels + 1) * TILE_COLUMNS);
            crowded[r].reserve((panels + 2) * TILE_COLUMNS);
            left_by_fp32[r].reserve((panels + 3) * TILE_COLUMNS);
        }
        rows.reserve(panels * TILE_COLUMNS);
        taken.reserve(TILE_COLUMNS);
    }

    int64_t again[3] = {}; // rows that bfloat16 left open; of these, those that went through float32; rows that float32 left open

    void block(int64_t first, int64_t count) {
        rows.resize(count);
        for (int64_t i = 0; i < count; ++i) rows[i] = first + i;
        for (int r = 0; r < given.r; ++r) {
            pack(given.bf16, rows, given.sets[r], r > 0);
            score(given.bf16, rows, r);
        }
        for (int r = 0; r < given.r; ++r) flush(r, TILE_COLUMNS);
    }

    void finish() {
        for (int r = 0; r < given.r; ++r) flush(r, 1);
    }

private:
    const problem<ROWS>& given;
    const T* x;
    int panels;
    std::vector<float> packed, partial, limits;
    std::vector<top_two> states;
    std::vector<float> squares = std::vector<float>(MOST_PANELS * TILE_COLUMNS), losses = squares;
    std::vector<int64_t> rows, taken;
    std::vector<std::vector<open_row>> left_by_bf16, left_by_fp32; // of each set
    std::vector<std::vector<int64_t>> crowded;                     // of each set: rows with more near centroids in bfloat16 than are noted

    // Settles waiting rows of a set, a panel at a time, while at least `least` of them wait.
    void flush(int r, size_t least) {
        while (left_by_bf16[r].size() >= least) decide(true, r, left_by_bf16[r]);
        while (crowded[r].size() >= least) {
            const size_t count = std::min<size_t>(crowded[r].size(), TILE_COLUMNS);
            taken.assign(crowded[r].end() - count, crowded[r].end());
            crowded[r].resize(crowded[r].size() - count);
            again[1] += count;
            pack(false, taken, given.sets[r], false);
            score(false, taken, r);
        }
        while (left_by_fp32[r].size() >= least) decide(false, r, left_by_fp32[r]);
    }

    // Packs the rows, unless they are packed already, and puts 2 E of each against this set into `limits`.
    void pack(bool bf16, const std::vector<int64_t>& of, const centroid_panels<ROWS>& set, bool packed_already) {
        const int count = static_cast<int>(of.size());
        const int64_t ahead = static_cast<int64_t>(LANES) * given.d; // right for the rows of a block
        for (int first = 0, panel = 0; first < count; first += TILE_COLUMNS, ++panel) {
            const int have = std::min(TILE_COLUMNS, count - first);
            const T* from[TILE_COLUMNS];
            for (int j = 0; j < have; ++j) from[j] = x + of[first + j] * given.d;
            float* square = squares.data() + first;
            float* lost = losses.data() + first;
            float* limit = limits.data() + first;
#if LUSS_HAS_BF16
            if (bf16) {
                float* to = packed.data() + static_cast<size_t>(panel) * TILE_COLUMNS * bf16_words(given.d);
                if (!packed_already) pack_vectors_bf16(from, have, given.d, to, square, lost, ahead);
                set.bounds_bf16(square, lost, limit);
                continue;
            }
#else
            (void)bf16, (void)lost;
#endif
            float* to = packed.data() + static_cast<size_t>(panel) * TILE_COLUMNS * given.d;
            if (!packed_already) {
                pack_vectors(from, have, given.d, to, ahead);
                vf low = {}, high = {};
                for (int p = 0; p < given.d; ++p) {
                    const float* numbers = to + static_cast<size_t>(p) * TILE_COLUMNS;
                    const vf a = load<vf>(numbers), b = load<vf>(numbers + LANES);
                    low = fused(a, a, low);
                    high = fused(b, b, high);
                }
                store(square, low);
                store(square + LANES, high);
            }
            set.bounds(square, limit);
        }
    }

    // All tiles of the packed rows and a set: done(first centroid, panel, scores' sums).
    template <class Done> void multiply(bool bf16, const centroid_panels<ROWS>& set, int used, Done&& done) {
#if LUSS_HAS_BF16
        if (bf16) return gemm_block<bf16_product, ROWS>(set.bf16.data(), set.panels, packed.data(), used, bf16_words(given.d), partial.data(), done);
#else
        (void)bf16;
#endif
        gemm_block<fp32_product, ROWS>(set.fp32.data(), set.panels, packed.data(), used, given.d, partial.data(), done);
    }

    // Labels of the packed rows; those within the bound wait.
    void score(bool bf16, const std::vector<int64_t>& of, int r) {
        const centroid_panels<ROWS>& set = given.sets[r];
        std::vector<open_row>& left = bf16 ? left_by_bf16[r] : left_by_fp32[r];
        const int count = static_cast<int>(of.size()), used = (count + TILE_COLUMNS - 1) / TILE_COLUMNS;
        for (int j = 0; j < used; ++j) states[j].clear();
        const float* half_norm = set.half_norm.data();
        multiply(bf16, set, used, [&](int i, int j, const tile<ROWS>& sum) { states[j].add(sum, i * ROWS, half_norm + i * ROWS); });
        for (int i = 0; i < count; ++i) {
            const top_two& state = states[i / TILE_COLUMNS];
            const int j = i % TILE_COLUMNS;
            if (state.best[j] - state.second[j] > limits[i])
                settle(of[i], r, state.label[j]);
            else
                left.push_back({of[i], state.best[j] - limits[i]});
        }
    }

    // Labels of a panel of rows from the end of `from`, in float64 among the centroids near enough. Those that
    // bfloat16 leaves too many of are `crowded`.
    void decide(bool bf16, int r, std::vector<open_row>& from) {
        const centroid_panels<ROWS>& set = given.sets[r];
        const int count = static_cast<int>(std::min<size_t>(from.size(), TILE_COLUMNS));
        float least[TILE_COLUMNS];
        int32_t near[TILE_COLUMNS][MOST_NEAR];
        int found[TILE_COLUMNS] = {};
        taken.clear();
        for (int j = 0; j < TILE_COLUMNS; ++j) {
            least[j] = j < count ? from[from.size() - count + j].least : INFINITE;
            if (j < count) taken.push_back(from[from.size() - count + j].row);
        }
        from.resize(from.size() - count);
        again[bf16 ? 0 : 2] += count;
        pack(bf16, taken, set, false);
        multiply(bf16, set, 1, [&](int i, int, const tile<ROWS>& sum) {
            for (int at = 0; at < ROWS; ++at)
                for (int v = 0; v < 2; ++v) {
                    const int id = i * ROWS + at;
                    uint32_t bits = not_below(sum.at[at][v] - broadcast(set.half_norm[id]), load<vf>(least + v * LANES));
                    for (; bits != 0; bits &= bits - 1) {
                        const int j = v * LANES + __builtin_ctz(bits);
                        if (found[j] < MOST_NEAR) near[j][found[j]] = id;
                        ++found[j];
                    }
                }
        });
        for (int j = 0; j < count; ++j) {
            if (found[j] <= MOST_NEAR)
                settle(taken[j], r, nearest_fp64(taken[j], r, near[j], found[j]));
            else if (bf16)
                crowded[r].push_back(taken[j]);
            else
                settle(taken[j], r, nearest_fp64(taken[j], r, nullptr, given.k));
        }
    }

    // The first of `count` centroids (null: all) with the largest score in float64; -1 where none is above minus infinity.
    int32_t nearest_fp64(int64_t row, int r, const int32_t* near, int count) {
        const centroid_panels<ROWS>& set = given.sets[r];
        double best = -std::numeric_limits<double>::infinity();
        int32_t label = -1;
        for (int i = 0; i < count; ++i) {
            const int id = near != nullptr ? near[i] : i;
            if (id >= given.k) continue; // fills up the last panel
            const float* c = given.c + (static_cast<int64_t>(r) * given.k + id) * given.d;
            const double score = product_fp64(x + row * given.d, c, given.d) - set.exact_half_norm[id];
            if (score > best) best = score, label = id;
        }
        return label;
    }

    // Writes label and score; label -1: no centroid had a score above minus infinity.
    void settle(int64_t i, int r, int32_t label) {
        float& score = given.score[r * given.n + i];
        given.label[r * given.n + i] = std::max(label, 0);
        if (label < 0) {
            score = std::numeric_limits<float>::quiet_NaN();
            return;
        }
        const float* c = given.c + (static_cast<int64_t>(r) * given.k + label) * given.d;
        score = given.cosine ? product(x + i * given.d, c, given.d) : squared_distance(x + i * given.d, c, given.d);
    }
};

template <class T, int ROWS>
void run(problem<ROWS>&& given, const T* x, int64_t* again, int threads) {
    for (int r = 0; r < given.r; ++r)
        given.sets.emplace_back(given.c + static_cast<int64_t>(r) * given.k * given.d, given.k, given.d, given.cosine, given.bf16);
    std::vector<std::unique_ptr<worker<T, ROWS>>> workers;
    for (int t = 0; t < threads; ++t) workers.emplace_back(new worker<T, ROWS>(given, x));
    const int64_t step = static_cast<int64_t>(panels_of_block(given.d)) * TILE_COLUMNS;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        worker<T, ROWS>& mine = *workers[omp_get_thread_num()];
#pragma omp for schedule(dynamic)
        for (int64_t first = 0; first < given.n; first += step) mine.block(first, std::min(step, given.n - first));
        mine.finish();
    }
    for (const auto& worker : workers)
        for (int i = 0; i < 3; ++i) again[i] += worker->again[i];
}

int filled(int k, int rows) { return (k + rows - 1) / rows * rows; }

} // namespace
} // namespace luss

extern "C" int luss_nearest_centroid_has_bf16() { return LUSS_HAS_BF16; }

// again: three counts of rows (see worker) are added to. Returns 0, or 1 where memory ran out. All arguments were checked by the caller.
extern "C" int luss_nearest_centroid_cpu(const void* x, int x_half, const float* c, int64_t n, int d, int k, int r, int cosine, int bf16,
                                         int32_t* label, float* score, int64_t* again, int threads) {
    // The smaller tile is the faster one where it leaves fewer rows empty: 50 centroids fill 5 panels of 10, and 5 of 12.
    constexpr int fewer = luss::TILE_ROWS - (luss::TILE_ROWS > 6 ? 2 : 1);
    const auto with = [&](auto rows) {
        constexpr int ROWS = decltype(rows)::value;
        luss::problem<ROWS> given{c, n, d, k, r, cosine != 0, bf16 != 0, label, score, {}};
        if (x_half)
            luss::run(std::move(given), static_cast<const uint16_t*>(x), again, threads);
        else
            luss::run(std::move(given), static_cast<const float*>(x), again, threads);
    };
    try {
        if (luss::filled(k, fewer) < luss::filled(k, luss::TILE_ROWS))
            with(std::integral_constant<int, fewer>());
        else
            with(std::integral_constant<int, luss::TILE_ROWS>());
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}
