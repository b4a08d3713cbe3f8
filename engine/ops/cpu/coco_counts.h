// COCO's run-length encoding: lengths of runs in column-major order, the first one unset, as numbers or as a string.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "mask_runs.h"

namespace luss {

enum rle_fault_kind { RLE_GOOD, RLE_NEGATIVE, RLE_OVERRUN, RLE_SHORT, RLE_CHARACTER, RLE_UNFINISHED };

// What is wrong with one mask's counts: the number of the count (or, of RLE_CHARACTER, of the character), and the sum of those before it.
struct rle_fault {
    int64_t kind, position, sum;
};

// Collects counts one after another; counts of 0 are allowed anywhere.
class count_reader {
  public:
    count_reader(int64_t pixels, std::vector<run>& runs) : pixels_(pixels), runs_(runs) {}

    bool take(int64_t count, rle_fault& fault) {
        if (count < 0 || count > pixels_ - sum_) {
            fault = {count < 0 ? RLE_NEGATIVE : RLE_OVERRUN, number_, sum_};
            return false;
        }
        if (number_ % 2 == 1 && count > 0) {
            const int32_t start = static_cast<int32_t>(sum_), stop = static_cast<int32_t>(sum_ + count);
            if (!runs_.empty() && runs_.back().stop == start) runs_.back().stop = stop;
            else runs_.push_back({start, stop});
        }
        sum_ += count;
        ++number_;
        return true;
    }
    bool end(rle_fault& fault) const {
        if (sum_ == pixels_) return true;
        fault = {RLE_SHORT, number_, sum_};
        return false;
    }
    int64_t number() const { return number_; }
    int64_t sum() const { return sum_; }

  private:
    int64_t pixels_, sum_ = 0, number_ = 0;
    std::vector<run>& runs_;
};

inline bool runs_of_counts(const int64_t* counts, int64_t length, int64_t pixels, std::vector<run>& runs, rle_fault& fault) {
    count_reader reader(pixels, runs);
    for (int64_t i = 0; i < length; ++i)
        if (!reader.take(counts[i], fault)) return false;
    return reader.end(fault);
}

// The string: each count, from the fourth on less the one two before it, in groups of 5 bits, lowest first, two's complement; bit 5 of a
// character says that another follows; 48 is added to each.
inline bool runs_of_string(const char* text, int64_t length, int64_t pixels, std::vector<run>& runs, rle_fault& fault) {
    count_reader reader(pixels, runs);
    int64_t before[2] = {0, 0}; // the last count, and the one before it
    for (int64_t i = 0; i < length;) {
        uint64_t value = 0;
        for (int shift = 0;; shift += 5) {
            if (i == length) {
                fault = {RLE_UNFINISHED, reader.number(), reader.sum()};
                return false;
            }
            const int group = static_cast<unsigned char>(text[i]) - 48;
            if (group < 0 || group > 63 || shift > 35) { // 40 bits are more than any count of 32 bits needs
                fault = {RLE_CHARACTER, i, reader.sum()};
                return false;
            }
            ++i;
            value |= static_cast<uint64_t>(group & 31) << shift;
            if (group & 32) continue;
            if (group & 16) value |= ~uint64_t{0} << (shift + 5);
            break;
        }
        int64_t count = static_cast<int64_t>(value);
        if (reader.number() > 2) count += before[1];
        if (!reader.take(count, fault)) return false;
        before[1] = before[0];
        before[0] = count;
    }
    return reader.end(fault);
}

inline void counts_of_runs(const std::vector<run>& runs, int64_t pixels, std::vector<int64_t>& counts) {
    int64_t at = 0;
    for (const run& r : runs) {
        counts.push_back(r.start - at);
        counts.push_back(r.stop - r.start);
        at = r.stop;
    }
    if (at < pixels || counts.empty()) counts.push_back(pixels - at);
}

inline void string_of_counts(const std::vector<int64_t>& counts, std::vector<char>& text) {
    for (size_t i = 0; i < counts.size(); ++i) {
        int64_t value = counts[i] - (i > 2 ? counts[i - 2] : 0);
        for (bool more = true; more;) {
            const int group = value & 31;
            value >>= 5;
            more = value != (group & 16 ? -1 : 0);
            text.push_back(static_cast<char>((group | (more ? 32 : 0)) + 48));
        }
    }
}

} // namespace luss
