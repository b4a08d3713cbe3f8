/* The centroids that may be as near as the best one known, of every column of a panel, while tiles pass (row = centroid, column = feature vector).

   A tile's sums become upper bounds of scores (drifting_set.h), in units of the column: value = sum * weight + e n - g o. One that is not below the
   column's `least` is noted, with the id of its centroid; of the others, the largest is kept. `least` rises with the lower bounds of what is noted,
   and what it leaves behind is dropped: a column whose nearest centroid nobody knows begins at minus infinity. */
#pragma once
#include "drifting_set.h"

namespace luss {

struct near_centroids {
    static constexpr int ROOM = 64;
    float e[TILE_COLUMNS], g[TILE_COLUMNS], least[TILE_COLUMNS], other[TILE_COLUMNS];
    float doubt[TILE_COLUMNS]; // w: what the computed value may be below the bound, or a score in float64 above it
    int32_t own[TILE_COLUMNS], start[TILE_COLUMNS], found[TILE_COLUMNS];
    int32_t id[TILE_COLUMNS][ROOM];
    float value[TILE_COLUMNS][ROOM];

    void clear(int j) { e[j] = g[j] = doubt[j] = 0, least[j] = INFINITE, other[j] = -INFINITE, own[j] = -1, start[j] = found[j] = 0; }

    template <class Scores, int ROWS> void add(const tile<ROWS>& sum, int first, const drifting_set<ROWS>& set) {
        const float *weight = set.weight.data() + first, *spread = set.spread.data() + first, *offset = set.offset.data() + first;
        for (int v = 0; v < 2; ++v) {
            const vf en = load<vf>(e + v * LANES), go = load<vf>(g + v * LANES), limit = load<vf>(least + v * LANES);
            vf rest = load<vf>(other + v * LANES);
            lanes all = every_lane();
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; ++i)
                all &= keep_below(value_of<Scores>(sum.at[i][v], en, go, weight[i], spread[i], offset[i]), limit, rest);
            store(other + v * LANES, rest);
            if (all == every_lane()) continue;
            for (int i = 0; i < ROWS; ++i) { // again: to hold twelve vectors and masks back for this costs more
                const vf bound = value_of<Scores>(sum.at[i][v], en, go, weight[i], spread[i], offset[i]);
                uint32_t bits = at_least(bound, limit);
                if (bits == 0) continue;
                float bounds[LANES];
                store(bounds, bound);
                for (; bits != 0; bits &= bits - 1) {
                    const int lane = __builtin_ctz(bits);
                    note(v * LANES + lane, set.id[first + i], bounds[lane], spread[i]);
                }
            }
        }
    }

private:
    template <class Scores> static vf value_of(vf sum, vf en, vf go, float weight, float spread, float offset) {
        return fused(Scores::value(sum), broadcast(weight), fused(en, broadcast(spread), -(go * broadcast(offset))));
    }

    // The lanes where value is below `limit`, or NaN; the largest of those goes into `rest`.
#if defined(__AVX512BW__)
    using lanes = __mmask16;
    static lanes every_lane() { return 0xffff; }
    static lanes keep_below(vf value, vf limit, vf& rest) {
        const lanes below = _mm512_cmp_ps_mask((__m512)value, (__m512)limit, _CMP_NGE_UQ);
        rest = (vf)_mm512_mask_max_ps((__m512)rest, below, (__m512)value, (__m512)rest);
        return below;
    }
    static uint32_t at_least(vf value, vf limit) { return _mm512_cmp_ps_mask((__m512)value, (__m512)limit, _CMP_GE_OQ); }
#else
    using lanes = uint32_t;
    static lanes every_lane() { return (1u << LANES) - 1; }
    static lanes keep_below(vf value, vf limit, vf& rest) {
        const vi near = value >= limit;
        rest = select(near, rest, most(value, rest));
        return every_lane() ^ bits_of(near);
    }
    static uint32_t at_least(vf value, vf limit) { return bits_of(value >= limit); }
    static uint32_t bits_of(vi mask) {
        uint32_t bits = 0;
        for (int i = 0; i < LANES; ++i) bits |= static_cast<uint32_t>(mask[i] & 1) << i;
        return bits;
    }
#endif

    void note(int j, int32_t centroid, float bound, float n) {
        if (centroid == own[j] || found[j] > ROOM) return;
        const double low = static_cast<double>(bound) - 2.0 * e[j] * n - 2.0 * doubt[j];
        if (low > least[j]) least[j] = rounded_down(low);
        if (found[j] == ROOM) {
            drop(j);
            if (found[j] == ROOM) { // more than are noted
                found[j] = ROOM + 1, least[j] = INFINITE;
                return;
            }
        }
        id[j][found[j]] = centroid;
        value[j][found[j]++] = bound;
    }

public:
    // Those that a bound found later leaves behind.
    void drop(int j) {
        int kept = 0;
        for (int i = 0; i < found[j]; ++i) {
            if (value[j][i] >= least[j])
                id[j][kept] = id[j][i], value[j][kept++] = value[j][i];
            else
                other[j] = std::max(other[j], value[j][i]);
        }
        found[j] = kept;
    }
};

} // namespace luss
