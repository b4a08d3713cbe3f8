/* Labels of the pixels of one row of cells: those whose first row tap is y. A cell is the set of pixels with the same first taps, so all its
   values come from the same TAPS x TAPS numbers of each class, and lie between their smallest and largest. A class can win a pixel only if its
   largest number reaches the largest of all classes' smallest (less rounding, luss_least_top): few do, and only they are enlarged.

   Per LANES cells: one pass over the classes finds the bound and keeps each class's largest numbers, a second one lists the candidates. */
#pragma once
#include <limits>
#include <vector>

#include "luss/bilinear_taps.h"
#include "part_lanes.h"

namespace luss {

// Rounded once on every machine: labels are those of the CUDA path.
inline vf fused_once(vf a, vf b, vf c) {
    if (ROUNDINGS == 1) return fused(a, b, c);
    for (int i = 0; i < LANES; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
}

// The columns' taps with the weights side by side, and the first pixel of each cell: of cell i, start[i] to start[i + 1].
struct column_taps {
    std::vector<int> start;
    std::vector<float> weight[3];
    const luss_tap* taps;

    column_taps(const luss_tap* from, int count, int cells) : start(cells + 1, count), taps(from) {
        for (auto& w : weight) w.resize(count + LANES);
        for (int i = count; i-- > 0;) {
            start[from[i].first] = i;
            for (int k = 0; k < 3; ++k) weight[k][i] = from[i].weight[k];
        }
        for (int i = cells; i-- > 0;) start[i] = start[i] < start[i + 1] ? start[i] : start[i + 1]; // cells without pixels
    }
};

struct cell_row {
    const float* x; // (classes, rows, width): class 0 at the first row tap
    int64_t row_step, class_step;
    int classes, width;
    int rows_left; // of the map, from the first tap's on
    const luss_tap* row_taps;
    int row_count; // pixel rows
    int first_id;
    int32_t* out; // first pixel row
    int out_width;
};

constexpr int FEW = 12; // candidates that are enlarged without asking once more: found by trial

template <int TAPS> class cell_labeller {
  public:
    explicit cell_labeller(int classes)
        : room_((classes + LANES - 1) / LANES * LANES), tops_(static_cast<size_t>(classes) * LANES), list_(static_cast<size_t>(classes) * LANES),
          corners_(static_cast<size_t>(room_) * TAPS * TAPS), down_(static_cast<size_t>(room_) * TAPS), picked_(classes) {}

    void run(const cell_row& row, const column_taps& columns) {
        for (int first = 0; first < row.width; first += LANES) {
            const int cells = row.width - first < LANES ? row.width - first : LANES;
            if (columns.start[first] == columns.start[first + cells]) continue;
            find_candidates(row, first, cells);
            for (int i = 0; i < cells; ++i) {
                const int begin = columns.start[first + i], end = columns.start[first + i + 1];
                if (begin == end) continue;
                if (finite_ >> i & 1)
                    label_cell(row, columns, first + i, begin, end, &list_[static_cast<size_t>(i) * row.classes], count_[i]);
                else
                    label_any_cell(row, columns, begin, end);
            }
        }
    }

  private:
    void find_candidates(const cell_row& row, int first, int cells) {
        part lanes[TAPS];
        int64_t at[TAPS];
        for (int t = 0; t < TAPS; ++t) {
            lanes[t] = first_lanes(row.width - first - t);
            at[t] = (t < row.rows_left ? t : row.rows_left - 1) * row.row_step + first;
        }
        const vf none = constant(-std::numeric_limits<float>::infinity(), vf{});
        vf best_low = none;
        vi largest = {}; // bits of the sizes of all numbers
        for (int k = 0; k < row.classes; ++k) {
            const float* x = row.x + k * row.class_step;
            vf top, low;
#pragma GCC unroll 3
            for (int t = 0; t < TAPS; ++t) {
                vf v = load_part(x + at[t], lanes[0], vf{});
                top = t ? most(top, v) : v;
                low = t ? least(low, v) : v;
                largest = most(largest, (vi)v & 0x7fffffff);
#pragma GCC unroll 2
                for (int s = 1; s < TAPS; ++s) { // past the last column: the column before once more
                    v = load_part(x + at[t] + s, lanes[s], v);
                    top = most(top, v), low = least(low, v), largest = most(largest, (vi)v & 0x7fffffff);
                }
            }
            store(&tops_[static_cast<size_t>(k) * LANES], top);
            best_low = most(best_low, low);
        }
        finite_ = 0;
        vf bound = none;
        for (int i = 0; i < cells; ++i) {
            finite_ |= static_cast<unsigned>(static_cast<uint32_t>(largest[i]) < LUSS_INFINITY_BITS) << i;
            bound[i] = luss_least_top(best_low[i]);
            count_[i] = 0;
        }
        for (int k = 0; k < row.classes; ++k) {
            unsigned able = lanes_at_least(load<vf>(&tops_[static_cast<size_t>(k) * LANES]), bound) & finite_;
            for (; able; able &= able - 1) {
                const int i = __builtin_ctz(able);
                list_[static_cast<size_t>(i) * row.classes + count_[i]++] = k;
            }
        }
    }

    // `count` candidates in ascending order, all numbers finite
    void label_cell(const cell_row& row, const column_taps& columns, int column, int begin, int end, const int32_t* list, int count) {
        if (count == 1) {
            for (int r = 0; r < row.row_count; ++r)
                for (int x = begin; x < end; ++x) row.out[static_cast<int64_t>(r) * row.out_width + x] = list[0] + row.first_id;
            return;
        }
        for (int t = 0; t < TAPS; ++t)
            for (int s = 0; s < TAPS; ++s) {
                const int64_t at = (t < row.rows_left ? t : row.rows_left - 1) * row.row_step + (column + s < row.width ? column + s : row.width - 1);
                float* to = &corners_[static_cast<size_t>(t * TAPS + s) * room_];
                for (int i = 0; i < count; ++i) to[i] = row.x[list[i] * row.class_step + at];
            }
        for (int r = 0; r < row.row_count; ++r) {
            int32_t* out = row.out + static_cast<int64_t>(r) * row.out_width;
            const float* weight = row.row_taps[r].weight;
            if (r > 0 && std::memcmp(weight, row.row_taps[r - 1].weight, sizeof row.row_taps[r].weight) == 0) { // nearest repeats rows
                std::memcpy(out + begin, out + begin - row.out_width, sizeof(int32_t) * (end - begin));
                continue;
            }
            for (int s = 0; s < TAPS; ++s)
                for (int i = 0; i < count; i += LANES) {
                    vf v = {};
#pragma GCC unroll 3
                    for (int t = 0; t < TAPS; ++t) {
                        const vf corner = load<vf>(&corners_[static_cast<size_t>(t * TAPS + s) * room_ + i]);
                        v = fused_once(constant(weight[t], vf{}), corner, v);
                    }
                    store(&down_[static_cast<size_t>(s) * room_ + i], v);
                }
            const int kept = pick_candidates(count);
            for (int x = begin; x < end; x += LANES) {
                vf across[TAPS];
                for (int s = 0; s < TAPS; ++s) across[s] = load<vf>(&columns.weight[s][x]);
                vf best = value(across, picked_[0]);
                vi id = vi{} + list[picked_[0]];
                for (int i = 1; i < kept; ++i) {
                    const vf v = value(across, picked_[i]);
                    const vi larger = v > best;
                    best = larger ? v : best;
                    id = larger ? vi{} + list[picked_[i]] : id;
                }
                store_part(out + x, id + row.first_id, first_lanes(end - x));
            }
        }
    }

    // The same bound once more, along one pixel row: its values lie between the numbers of down_. Candidates kept, in order, in picked_.
    int pick_candidates(int count) {
        if (count < FEW) {
            for (int i = 0; i < count; ++i) picked_[i] = i;
            return count;
        }
        const vf none = constant(-std::numeric_limits<float>::infinity(), vf{});
        vf best_low = none;
        for (int i = 0; i < count; i += LANES) {
            const part lanes = first_lanes(count - i);
            vf low = load_part(&down_[i], lanes, none);
            for (int s = 1; s < TAPS; ++s) low = least(low, load_part(&down_[static_cast<size_t>(s) * room_ + i], lanes, none));
            best_low = most(best_low, low);
        }
        float best = best_low[0];
        for (int i = 1; i < LANES; ++i) best = best_low[i] > best ? best_low[i] : best;
        const vf bound = constant(luss_least_top(best), vf{});
        int kept = 0;
        for (int i = 0; i < count; i += LANES) {
            const part lanes = first_lanes(count - i);
            vf top = load_part(&down_[i], lanes, none);
            for (int s = 1; s < TAPS; ++s) top = most(top, load_part(&down_[static_cast<size_t>(s) * room_ + i], lanes, none));
            for (unsigned able = lanes_at_least(top, bound); able; able &= able - 1) picked_[kept++] = i + __builtin_ctz(able);
        }
        return kept;
    }

    vf value(const vf (&across)[TAPS], int candidate) const {
        vf v = {};
#pragma GCC unroll 3
        for (int s = 0; s < TAPS; ++s) v = fused_once(across[s], constant(down_[static_cast<size_t>(s) * room_ + candidate], vf{}), v);
        return v;
    }

    // Any numbers, one pixel after another, all classes
    void label_any_cell(const cell_row& row, const column_taps& columns, int begin, int end) {
        for (int r = 0; r < row.row_count; ++r)
            for (int x = begin; x < end; ++x) {
                const luss_tap &down = row.row_taps[r], &across = columns.taps[x];
                float best = luss_enlarged<TAPS>(row.x + across.first, row.row_step, down, across);
                int id = 0;
                for (int k = 1; k < row.classes; ++k) {
                    const float v = luss_enlarged<TAPS>(row.x + k * row.class_step + across.first, row.row_step, down, across);
                    if (luss_takes(v, best)) best = v, id = k;
                }
                row.out[static_cast<int64_t>(r) * row.out_width + x] = id + row.first_id;
            }
    }

    size_t room_;
    std::vector<float> tops_;    // (classes, LANES) largest number of a class in each cell
    std::vector<int32_t> list_;  // (LANES, classes) candidates of each cell
    std::vector<float> corners_; // (TAPS * TAPS, room) of the candidates of one cell
    std::vector<float> down_;    // (TAPS, room) the same, enlarged along one pixel row
    std::vector<int> picked_;    // of a cell's candidates, those that can win a pixel of the row
    int count_[LANES];
    unsigned finite_; // bit i: all numbers of cell i are
};

} // namespace luss
