/* CPU path of engine.ops.nearest_centroid.

   Threads take blocks of rows in turn. A block is packed once and meets all centroids (of all R sets) tile by tile; top_two.h watches the tiles go
   past. Rows that this does not settle wait until a panel of them is there: those of the bfloat16 pass are then scored in float32, those of the float32 pass
   again in float32 with every centroid near the best decided in float64. A row's result depends on the row and the centroids alone, so neither on
   threads nor on the rows that wait beside it. */
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
          unsettled(given.bf16 ? given.r : 0), close(given.r) {
        for (auto* lists : {&unsettled, &close})
            for (auto& list : *lists) list.reserve((panels + 2) * TILE_COLUMNS);
        rows.reserve(panels * TILE_COLUMNS);
        taken.reserve(TILE_COLUMNS);
    }

    int64_t in_fp32 = 0, in_fp64 = 0; // rows decided again

    void block(int64_t first, int64_t count) {
        rows.resize(count);
        for (int64_t i = 0; i < count; ++i) rows[i] = first + i;
        if (given.bf16)
            each_set(true, rows, unsettled);
        else
            each_set(false, rows, close);
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
    std::vector<int64_t> rows, taken;
    std::vector<std::vector<int64_t>> unsettled, close; // of each set: rows that bfloat16, and that float32, left undecided

    // Settles the waiting rows of a set, whole panels while at least `least` rows wait.
    void flush(int r, size_t least) {
        while (given.bf16 && unsettled[r].size() >= least) {
            take(unsettled[r]);
            in_fp32 += taken.size();
            pack(false, taken, given.sets[r]);
            score(false, taken, r, close[r]);
        }
        while (close[r].size() >= least) {
            take(close[r]);
            in_fp64 += taken.size();
            pack(false, taken, given.sets[r]);
            decide(taken, r);
        }
    }

    void take(std::vector<int64_t>& from) {
        const size_t count = std::min<size_t>(from.size(), TILE_COLUMNS);
        taken.assign(from.end() - count, from.end());
        from.resize(from.size() - count);
    }

    void each_set(bool bf16, const std::vector<int64_t>& of, std::vector<std::vector<int64_t>>& left) {
        for (int r = 0; r < given.r; ++r) {
            pack(bf16, of, given.sets[r], r > 0);
            score(bf16, of, r, left[r]);
        }
    }

    // Packs the rows, unless they are packed already, and puts 2 E of each against this set into `limits`.
    void pack(bool bf16, const std::vector<int64_t>& of, const centroid_panels<ROWS>& set, bool packed_already = false) {
        const int count = static_cast<int>(of.size());
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
                if (!packed_already) pack_vectors_bf16(from, have, given.d, to, square, lost);
                set.bounds_bf16(square, lost, limit);
                continue;
            }
#else
            (void)bf16, (void)lost;
#endif
            float* to = packed.data() + static_cast<size_t>(panel) * TILE_COLUMNS * given.d;
            if (!packed_already) {
                pack_vectors(from, have, given.d, to);
                vf low = {}, high = {};
                for (int p = 0; p < given.d; ++p) {
                    const vf a = load<vf>(to + static_cast<size_t>(p) * TILE_COLUMNS), b = load<vf>(to + static_cast<size_t>(p) * TILE_COLUMNS + LANES);
                    low = multiply_add(a, a, low);
                    high = multiply_add(b, b, high);
                }
                store(square, low);
                store(square + LANES, high);
            }
            set.bounds(square, limit);
        }
    }

    std::vector<float> squares = std::vector<float>(MOST_PANELS * TILE_COLUMNS), losses = squares;

    // Labels of the packed rows; those within the bound go to `left`.
    void score(bool bf16, const std::vector<int64_t>& of, int r, std::vector<int64_t>& left) {
        const centroid_panels<ROWS>& set = given.sets[r];
        const int count = static_cast<int>(of.size()), used = (count + TILE_COLUMNS - 1) / TILE_COLUMNS;
        for (int j = 0; j < used; ++j) states[j].clear();
        const auto watch = [&](int i, int j, const tile<ROWS>& sum) { states[j].add(sum, i * ROWS, set.half_norm.data() + i * ROWS); };
#if LUSS_HAS_BF16
        if (bf16) gemm_block<bf16_product, ROWS>(set.bf16.data(), set.panels, packed.data(), used, bf16_words(given.d), partial.data(), watch);
#endif
        if (!bf16) gemm_block<fp32_product, ROWS>(set.fp32.data(), set.panels, packed.data(), used, given.d, partial.data(), watch);
        for (int i = 0; i < count; ++i) {
            const top_two& state = states[i / TILE_COLUMNS];
            const int j = i % TILE_COLUMNS;
            if (state.best[j] - state.second[j] > limits[i])
                settle(of[i], r, state.label[j]);
            else
                left.push_back(of[i]);
        }
    }

    // Labels of one panel of rows, in float64 among the centroids within the bound of the best score in float32.
    void decide(const std::vector<int64_t>& of, int r) {
        const centroid_panels<ROWS>& set = given.sets[r];
        const float* c = given.c + static_cast<int64_t>(r) * given.k * given.d;
        states[0].clear();
        const auto watch = [&](int i, int, const tile<ROWS>& sum) { states[0].add(sum, i * ROWS, set.half_norm.data() + i * ROWS); };
        gemm_block<fp32_product, ROWS>(set.fp32.data(), set.panels, packed.data(), 1, given.d, partial.data(), watch);
        float least[TILE_COLUMNS];
        double best[TILE_COLUMNS];
        int32_t label[TILE_COLUMNS];
        for (int j = 0; j < TILE_COLUMNS; ++j) {
            least[j] = j < static_cast<int>(of.size()) ? states[0].best[j] - limits[j] : INFINITE;
            best[j] = -std::numeric_limits<double>::infinity();
            label[j] = -1;
        }
        const auto compare = [&](int i, int, const tile<ROWS>& sum) {
            for (int at = 0; at < ROWS && i * ROWS + at < given.k; ++at)
                for (int v = 0; v < 2; ++v) {
                    const int id = i * ROWS + at;
                    for (uint32_t bits = not_below(sum.at[at][v] - broadcast(set.half_norm[id]), load<vf>(least + v * LANES)); bits != 0; bits &= bits - 1) {
                        const int j = v * LANES + __builtin_ctz(bits);
                        if (j >= static_cast<int>(of.size())) continue;
                        const double found = product_fp64(x + of[j] * given.d, c + static_cast<int64_t>(id) * given.d, given.d) - set.exact_half_norm[id];
                        if (found > best[j]) best[j] = found, label[j] = id;
                    }
                }
        };
        gemm_block<fp32_product, ROWS>(set.fp32.data(), set.panels, packed.data(), 1, given.d, partial.data(), compare);
        for (size_t j = 0; j < of.size(); ++j) settle(of[j], r, label[j]);
    }

    // Writes label and score; label -1: no centroid had a score above minus infinity.
    void settle(int64_t i, int r, int32_t label) {
        float& score = given.score[r * given.n + i];
        given.label[r * given.n + i] = std::max(label, 0);
        const float* c = given.c + (static_cast<int64_t>(r) * given.k + label) * given.d;
        if (label < 0)
            score = std::numeric_limits<float>::quiet_NaN();
        else
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
    for (const auto& worker : workers) again[0] += worker->in_fp32, again[1] += worker->in_fp64;
}

int filled(int k, int rows) { return (k + rows - 1) / rows * rows; }

} // namespace
} // namespace luss

extern "C" int luss_nearest_centroid_has_bf16() { return LUSS_HAS_BF16; }

// again: rows decided again in float32 and in float64 are added to. Returns 0, or 1 where memory ran out. All arguments were checked by the caller.
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
