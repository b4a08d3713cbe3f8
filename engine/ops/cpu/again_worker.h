// A thread's part of nearest_again.cc: chunks of rows against all sets.
#pragma once
#include <memory>

#include "near_centroids.h"

namespace luss {

constexpr int MOST_PANELS = 8; // of 32 rows that pass by a set's centroids together: 128 KB of bytes at d = 512
constexpr int WORK_COUNTERS = 6;

struct again_handle {
    virtual ~again_handle() {}
    virtual void rows(const void* x, bool half, int64_t n, int32_t* label, float* lower, int64_t* work, int threads) = 0;
};

template <int ROWS> struct again_problem {
    int depth, count;
    bool cosine = false;
    std::vector<float> middle;
    double middle_norm = 0;
    std::vector<std::unique_ptr<drifting_set<ROWS>>> sets;

    again_problem(int d, int k) : depth(d), count(k), middle(d, 0.f) {}
};

// A multiple of TILE_COLUMNS: many rows leave few columns of the last panel of each set empty, few stay in the caches.
inline int64_t rows_of_chunk(int depth) { return std::max(256, std::min(2048, (1 << 20) / depth / TILE_COLUMNS * TILE_COLUMNS)); }

// A squared distance (cosine: a product), as computed, and between what the one that decides in float64 must lie.
struct measured {
    double low, high;
};

template <class T, class Scores, int ROWS> class again_worker {
public:
    int64_t work[WORK_COUNTERS] = {}; // rows settled without a product; by a prefix; by all; scanned; centroids noted; rows decided in float64

    again_worker(const again_problem<ROWS>& given, const T* x, int64_t n, int32_t* label, float* lower)
        : given(given), d(given.depth), n(n), x(x), label(label), lower(lower), rows(rows_of_chunk(d)), waiting(rows.size()), sorted(rows.size()),
          starts(given.count + given.sets[0]->panels + 1), packed(static_cast<size_t>(MOST_PANELS) * TILE_COLUMNS * Scores::words(d)),
          partial(gemm_partial<ROWS>(MOST_PANELS)), states(MOST_PANELS), scanned(given.count) {
        // Of a float32 sum of squares: row_distance.h adds d / (2 LANES) of them to a lane, int8_tile.h's round_row d / LANES.
        relative = (d / (2 * LANES) + 12) * U * ROUNDINGS * 1.01;
        square_error = (d / (Scores::ROUNDS_ROWS ? LANES : 2 * LANES) + 12) * U * ROUNDINGS * 1.01;
        product_error = (d / (2 * LANES) + 8) * U * ROUNDINGS * 1.01;
#if LUSS_HAS_INT8
        if (Scores::ROUNDS_ROWS) bytes.resize(rows.size() * turn.length), space.resize(turn.length);
#endif
    }

    void chunk(int64_t at, int count) {
        first = at;
        for (int i = 0; i < count; ++i) prepare(x + (first + i) * d, i);
        for (size_t r = 0; r < given.sets.size(); ++r) {
            set = given.sets[r].get();
            labels = label + r * n + first;
            lowers = lower + r * n + first;
            int left = 0;
            for (int i = 0; i < count; ++i) look(i, left);
            sort(left);
            for (int i = 0; i < left; i += MOST_PANELS * TILE_COLUMNS) meet(waiting.data() + i, std::min(left - i, MOST_PANELS * TILE_COLUMNS));
        }
    }

private:
    struct row {
        float step;
        int32_t start;                       // of its column's sums
        double per_step;                     // 1 / step
        double square, norm, full_norm, off; // |y|^2 as computed; upper bounds of |y|, |x| and e
    };
    struct open_row {
        int32_t at, panels, own; // own -1: unknown
        measured distance;       // to own
    };

    const again_problem<ROWS>& given;
    int d;
    int64_t n;
    const T* x;
    int32_t* label;
    float* lower;
    std::vector<row> rows;
    std::vector<open_row> waiting, sorted;
    std::vector<int> starts;
    std::vector<float> packed, partial, space;
    std::vector<near_centroids> states;
    std::vector<measured> scanned;
    std::vector<int8_t> bytes;
#if LUSS_HAS_INT8
    rotation turn{int8_stride(d)};
#endif
    double relative, square_error, product_error;
    int64_t first = 0;
    const drifting_set<ROWS>* set = nullptr;
    int32_t* labels = nullptr;
    float* lowers = nullptr;

    const T* row_of(int i) const { return x + (first + i) * d; }
    const float* centroid(int id) const { return set->c + static_cast<int64_t>(id) * d; }

    void prepare(const T* from, int i) {
        row& to = rows[i];
        const double unseen = std::sqrt(d) * UNSEEN;
#if LUSS_HAS_INT8
        if (Scores::ROUNDS_ROWS) {
            int8_t* kept_at = bytes.data() + static_cast<size_t>(i) * turn.length;
            const rounded_row found = round_row(from, given.middle.data(), d, turn, space.data(), kept_at);
            to.step = found.step;
            to.per_step = 1.0 / found.step;
            to.start = -128 * found.sum;
            to.square = found.square;
            to.norm = std::sqrt(to.square) * (1 + square_error) + unseen;
            const double turned = 1.02 * turn.roundings() * U * to.norm; // what rotating in float32 changed
            const double lost = std::sqrt(static_cast<double>(found.lost)) * (1 + square_error) + turned + unseen, kept = to.norm + lost;
            to.off = std::max(lost, kept / 128) + 8 * U * kept;
            to.full_norm = to.norm + given.middle_norm;
            return;
        }
#endif
        to.step = 1;
        to.per_step = 1;
        to.start = 0;
        to.square = sum_of_terms(from, given.middle.data(), d, [](vf a, vf, vf sum) { return fused(a, a, sum); });
        to.full_norm = to.norm = std::sqrt(to.square) * (1 + square_error) + unseen;
        to.off = (ROUNDINGS * std::min(d, DEPTH_BLOCK) + (d + DEPTH_BLOCK - 1) / DEPTH_BLOCK + 7) * U * 1.01 * to.norm;
    }

    // What two scores in float64 may be wrong by, so that a difference beyond it has the sign of theirs.
    double noise(const row& of) const { return (d + 8) * 4.5e-16 * (of.full_norm + set->largest_norm) * set->largest_norm; }

    measured measure(int i, int id) const {
        if (given.cosine) {
            const double v = product(row_of(i), centroid(id), d);
            const double error = product_error * rows[i].full_norm * set->largest_norm + noise(rows[i]) + d * 1e-44;
            return {v - error, v + error};
        }
        const double v = squared_distance(row_of(i), centroid(id), d), error = relative * v + 2 * noise(rows[i]) + d * 1e-44;
        return {v - error, v + error};
    }

    // What the bound leaves of a row: nothing, or an entry of `waiting`.
    void look(int i, int& left) {
        const row& of = rows[i];
        if (!(of.full_norm <= 1e15) || !set->usable()) return decide_all(i);
        const int own = labels[i];
        open_row& entry = waiting[left];
        entry.at = i;
        entry.panels = set->panels;
        entry.own = -1;
        if (own >= 0 && own < given.count) {
            entry.distance = measure(i, own);
            if (entry.distance.high < 1e32) entry.own = own; // not for NaN
        }
        if (entry.own >= 0 && !given.cosine) {
            const float reach = rounded_up(std::sqrt(entry.distance.high)), bound = lowers[i];
            if (left_of(bound, set->lead[0]) > reach) {
                lowers[i] = left_of(bound, set->lead[0]);
                ++work[0];
                return;
            }
            if (bound > reach) {
                const float* lead = set->lead.data();
                const auto near = [&](float drift) { return !(left_of(bound, drift) > reach); };
                const int needed = static_cast<int>(std::partition_point(lead, lead + set->panels, near) - lead);
                if (needed < MOST_OF_A_SET * set->panels) entry.panels = needed;
            }
        }
        ++work[entry.panels < set->panels ? 1 : 2];
        ++left;
    }
    static constexpr double MOST_OF_A_SET = 0.65; // a longer prefix is not worth the bound that meeting all gives: simulated
    static float left_of(float bound, float drift) { return rounded_down(static_cast<double>(bound) - drift); }

    // The longest prefixes first; of equal ones, by the place of their own centroid: what is noted comes together in few tiles.
    void sort(int count) {
        const auto place = [&](const open_row& entry) { return entry.own < 0 ? given.count : set->rank[entry.own]; };
        counting_sort(waiting, sorted, count, given.count + 1, place);
        counting_sort(sorted, waiting, count, set->panels + 1, [&](const open_row& entry) { return set->panels - entry.panels; });
    }
    template <class Key> void counting_sort(const std::vector<open_row>& from, std::vector<open_row>& to, int count, int keys, Key&& key) {
        starts.assign(keys, 0);
        for (int i = 0; i < count; ++i) ++starts[key(from[i])];
        int before = 0;
        for (int& start : starts) {
            const int here = start;
            start = before;
            before += here;
        }
        for (int i = 0; i < count; ++i) to[starts[key(from[i])]++] = from[i];
    }

    void meet(const open_row* entries, int count) {
        const int used = (count + TILE_COLUMNS - 1) / TILE_COLUMNS;
        int needed[MOST_PANELS];
        for (int j = 0; j < used; ++j) {
            const open_row* from = entries + j * TILE_COLUMNS;
            const int have = std::min(TILE_COLUMNS, count - j * TILE_COLUMNS);
            needed[j] = from[0].panels;
            pack(from, have, packed.data() + static_cast<size_t>(j) * TILE_COLUMNS * Scores::words(d));
            for (int i = 0; i < TILE_COLUMNS; ++i) {
                states[j].clear(i);
                if (i < have) begin(from[i], states[j], i);
            }
        }
        gemm_ragged<typename Scores::product, ROWS>(
            set->packed.data(), set->panels, packed.data(), used, Scores::words(d), partial.data(), [&](int j) { return needed[j]; },
            [&](int j, int v) { return load<vf>(states[j].start + v * LANES); },
            [&](int i, int j, const tile<ROWS>& sum) { states[j].template add<Scores>(sum, i * ROWS, *set); });
        for (int i = 0; i < count; ++i) settle(entries[i], states[i / TILE_COLUMNS], i % TILE_COLUMNS, needed[i / TILE_COLUMNS]);
    }

    void pack(const open_row* from, int count, float* to) {
#if LUSS_HAS_INT8
        if (Scores::ROUNDS_ROWS) {
            const int8_t* at[TILE_COLUMNS];
            for (int i = 0; i < count; ++i) at[i] = bytes.data() + static_cast<size_t>(from[i].at) * turn.length;
            return pack_words(at, count, d, to);
        }
#endif
        const T* at[TILE_COLUMNS];
        for (int i = 0; i < count; ++i) at[i] = row_of(from[i].at);
        pack_vectors(at, count, d, to);
    }

    void begin(const open_row& entry, near_centroids& state, int j) const {
        const row& of = rows[entry.at];
        const double unit = of.per_step * set->per_step;
        // 8 roundings touch the offset; (d + 8) products may vanish below 2^-149; twice the noise of float64
        const double doubt = (8 * U * set->largest_offset + (d + 8) * 2.9e-45 + 2 * noise(of)) * unit + 1e-30;
        state.g[j] = static_cast<float>(unit);
        state.e[j] = rounded_up(of.off * unit * (1 + 1e-6));
        state.doubt[j] = rounded_up(doubt);
        state.own[j] = entry.own;
        state.start[j] = of.start;
        state.least[j] = -3e38f;
        if (entry.own >= 0) {
            const double score = given.cosine ? entry.distance.low : 0.5 * (of.square * (1 - square_error) - entry.distance.high);
            state.least[j] = rounded_down(score * unit - doubt);
        }
        // Beyond what float32 holds on the way: as if too many had been noted.
        if (!(unit < 1e37) || !(doubt < 1e30) || !(state.e[j] < 1e18f) || !(state.least[j] < 1e37f))
            state.found[j] = near_centroids::ROOM + 1, state.least[j] = INFINITE;
    }

    // Label and bound of a row whose column has met the centroids of `panels` panels.
    void settle(const open_row& entry, near_centroids& state, int j, int panels) {
        const int i = entry.at;
        if (state.found[j] > near_centroids::ROOM) return scan(i);
        state.drop(j);
        measured seen[near_centroids::ROOM + 1];
        int32_t ids[near_centroids::ROOM + 1];
        int count = 0;
        for (; count < state.found[j]; ++count) ids[count] = state.id[j][count], seen[count] = measure(i, ids[count]);
        work[4] += count;
        if (entry.own >= 0) ids[count] = entry.own, seen[count++] = entry.distance;
        const int best = choose(i, ids, seen, count);
        if (best < 0) return scan(i); // without a score above minus infinity
        if (given.cosine) return;
        const row& of = rows[i];
        const double unit = static_cast<double>(of.step) * set->step;
        double nearest = of.square * (1 - square_error) - 2 * (static_cast<double>(state.other[j]) + state.doubt[j]) * unit; // squared, of all others
        for (int at = 0; at < count; ++at)
            if (ids[at] != labels[i]) nearest = std::min(nearest, seen[at].low);
        const float unmet = panels < set->panels ? left_of(lowers[i], set->lead[panels]) : INFINITE;
        lowers[i] = std::min(unmet, nearest > 0 ? rounded_down(std::sqrt(nearest)) : 0.f);
    }

    // Writes the label: the nearest of `count` centroids, in float64 where float32 leaves several. Returns its place, -1 where none has a score.
    int choose(int i, const int32_t* ids, const measured* seen, int count) {
        const bool cosine = given.cosine;
        int best = -1;
        const auto edge = [&](int at) { return cosine ? -seen[at].low : seen[at].high; }; // smaller is nearer
        for (int at = 0; at < count; ++at)
            if (edge(at) < INFINITE && (best < 0 || edge(at) < edge(best))) best = at; // not for NaN, nor for centroids at infinity
        if (best < 0) return -1;
        const double limit = edge(best);
        int near = 0;
        for (int at = 0; at < count; ++at) near += (cosine ? -seen[at].high : seen[at].low) <= limit;
        if (near > 1) {
            ++work[5];
            double most = -std::numeric_limits<double>::infinity();
            best = -1;
            for (int at = 0; at < count; ++at) {
                if (!((cosine ? -seen[at].high : seen[at].low) <= limit)) continue;
                const double score = exact(i, ids[at]);
                if (score > most || (score == most && best >= 0 && ids[at] < ids[best])) most = score, best = at;
            }
            if (best < 0) return -1;
        }
        labels[i] = ids[best];
        return best;
    }

    double exact(int i, int id) const { return product_fp64(row_of(i), centroid(id), d) - set->half_norm[id]; }

    // All centroids in float32.
    void scan(int i) {
        ++work[3];
        std::vector<int32_t>& ids = every_id;
        for (int id = 0; id < given.count; ++id) scanned[id] = measure(i, id);
        if (choose(i, ids.data(), scanned.data(), given.count) < 0) return decide_all(i);
        if (given.cosine) return;
        double nearest = std::numeric_limits<double>::infinity();
        for (int id = 0; id < given.count; ++id)
            if (id != labels[i]) nearest = std::min(nearest, scanned[id].low == scanned[id].low ? scanned[id].low : nearest);
        lowers[i] = nearest > 0 ? rounded_down(std::sqrt(nearest)) : 0.f;
    }
    std::vector<int32_t> every_id = numbers_to(given.count);
    static std::vector<int32_t> numbers_to(int count) {
        std::vector<int32_t> numbers(count);
        std::iota(numbers.begin(), numbers.end(), 0);
        return numbers;
    }

    // All centroids in float64; label 0 where none has a score above minus infinity.
    void decide_all(int i) {
        double most = -std::numeric_limits<double>::infinity();
        labels[i] = 0;
        if (!given.cosine) lowers[i] = -INFINITE;
        for (int id = 0; id < given.count; ++id) {
            const double score = exact(i, id);
            if (score > most) most = score, labels[i] = id;
        }
    }
};

} // namespace luss
