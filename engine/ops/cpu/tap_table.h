// The taps of many cuts in one array for the GPU, laid out as kernels/luss/cut_table.h says; each different axis once.
#pragma once
#include <map>
#include <tuple>

#include "fixed_taps.h"
#include "luss/cut_table.h"

namespace luss {

class TapTable {
  public:
    // Without `table` only the size is counted.
    explicit TapTable(int32_t* table) : table_(table) {}

    int64_t size() const { return size_; }

    // Where the axis, of a whole image, begins.
    int64_t add(const FixedAxis& axis) {
        const auto found = known_.insert({std::make_tuple(axis.axis.extent, axis.axis.out, axis.begin, axis.length), size_});
        if (!found.second) return found.first->second;
        const int64_t begin = size_;
        size_ += 2 * (static_cast<int64_t>(axis.length) + 1);
        for (int i = 0; i < axis.length; ++i) {
            int first, last;
            axis.range(i, first, last);
            if (table_) {
                put(begin, i, first);
                room_.resize(last - first);
                axis.weights(i, first, last, room_.data(), table_ + size_);
            }
            size_ += last - first;
        }
        if (table_) put(begin, axis.length, 0, size_);
        return begin;
    }

  private:
    int32_t* table_;
    int64_t size_ = 0;
    std::map<std::tuple<int, int, int, int>, int64_t> known_;
    std::vector<double> room_;

    void put(int64_t begin, int i, int first) { put(begin, i, first, size_); }
    void put(int64_t begin, int i, int first, int64_t weights) {
        table_[begin + 2 * i] = first;
        table_[begin + 2 * i + 1] = static_cast<int32_t>(weights);
    }
};

} // namespace luss
