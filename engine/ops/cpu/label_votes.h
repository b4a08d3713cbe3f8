// The most frequent label of a mask's runs, and writing it over them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "luss/vote_table.h"
#include "mask_runs.h"

namespace luss {

constexpr int LABELS = 32; // looked at together; a map is followed by as many that may be read

// Bit i: labels[i] is `label`.
inline uint32_t equal_labels(const uint16_t* labels, uint16_t label) {
#if defined(__AVX512BW__)
    return _mm512_cmpeq_epi16_mask(_mm512_loadu_si512(labels), _mm512_set1_epi16(static_cast<int16_t>(label)));
#elif defined(__AVX2__)
    const __m256i wanted = _mm256_set1_epi16(static_cast<int16_t>(label));
    const __m256i low = _mm256_cmpeq_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(labels)), wanted);
    const __m256i high = _mm256_cmpeq_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(labels + 16)), wanted);
    return _mm256_movemask_epi8(_mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8)); // packing takes 128 bits of each in turn
#elif defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi16(static_cast<int16_t>(label));
    __m128i part[4];
    for (int i = 0; i < 4; ++i) part[i] = _mm_cmpeq_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(labels + 8 * i)), wanted);
    const uint32_t low = _mm_movemask_epi8(_mm_packs_epi16(part[0], part[1])), high = _mm_movemask_epi8(_mm_packs_epi16(part[2], part[3]));
    return high << 16 | low;
#else
    uint32_t equal = 0;
    for (int i = 0; i < LABELS; ++i) equal |= static_cast<uint32_t>(labels[i] == label) << i;
    return equal;
#endif
}

// Counts of the labels 0 ... bins - 1. Neighbours mostly share a label: 32 at a time are compared with the last one seen, so that even parts
// cost a comparison; only what neither it nor two more labels explain is counted one by one, into four tables, as counting the same label
// twice in one table has to wait for the first.
class label_histogram {
  public:
    explicit label_histogram(int bins) : bins_(bins), table_(TABLES * static_cast<size_t>(bins)) {}

    void count(const uint16_t* labels, int64_t length) {
        for (int64_t i = 0; i < length; i += LABELS) {
            const uint16_t* p = labels + i;
            uint32_t left = length - i >= LABELS ? ~0u : (1u << (length - i)) - 1;
            uint32_t same = equal_labels(p, last_) & left;
            held_ += __builtin_popcount(same);
            left ^= same;
            for (int round = 0; left != 0; ++round) {
                if (round == 2) {
                    count_each(p, left);
                    break;
                }
                table_[last_] += held_;
                last_ = p[__builtin_ctz(left)];
                same = equal_labels(p, last_) & left;
                held_ = __builtin_popcount(same);
                left ^= same;
            }
        }
    }

    // The most frequent label, the smallest of several; *count 0 where there was none. The histogram is empty afterwards.
    int winner(bool ignore_background, uint32_t* count) {
        table_[last_] += held_;
        held_ = 0;
        uint32_t* const sums = table_.data();
        if (scattered_)
            for (int t = 1; t < TABLES; ++t)
                for (int i = 0; i < bins_; ++i) {
                    sums[i] += sums[t * bins_ + i];
                    sums[t * bins_ + i] = 0;
                }
        scattered_ = false;
        if (ignore_background) sums[0] = 0;
        uint32_t most = 0;
        for (int i = 0; i < bins_; ++i) most = std::max(most, sums[i]);
        *count = most;
        const int label = static_cast<int>(std::find(sums, sums + bins_, most) - sums);
        std::fill(sums, sums + bins_, 0u);
        return label;
    }

  private:
    static constexpr int TABLES = 4;

    void count_each(const uint16_t* labels, uint32_t chosen) {
        scattered_ = true;
        uint32_t* table = table_.data();
        for (int t = 0; chosen != 0; chosen &= chosen - 1, t = (t + 1) % TABLES) ++table[t * bins_ + labels[__builtin_ctz(chosen)]];
    }

    int bins_;
    uint16_t last_ = 0; // held_ of it are not in the table yet
    uint32_t held_ = 0;
    bool scattered_ = false;
    std::vector<uint32_t> table_;
};

inline void fill_labels(uint16_t* labels, int64_t length, uint16_t label) {
#if defined(__AVX512BW__)
    const __m512i v = _mm512_set1_epi16(static_cast<int16_t>(label));
    for (; length >= LABELS; length -= LABELS, labels += LABELS) _mm512_storeu_si512(labels, v);
    _mm512_mask_storeu_epi16(labels, (1u << length) - 1, v);
#else
    std::fill(labels, labels + length, label);
#endif
}

// Lets one mask after another vote over a map of `pixels` labels below `bins`, LABELS more of which may be read. `original`: the map that is
// counted, or null for `map` as it stands.
inline void vote_in_turn(uint16_t* map, const uint16_t* original, int bins, const run* runs, const int64_t* offsets, int64_t masks,
                         const luss_vote_rules& rules, luss_vote* votes) {
    label_histogram histogram(bins);
    const uint16_t* counted = original ? original : map;
    for (int64_t m = 0; m < masks; ++m) {
        const run *first = runs + offsets[m], *last = runs + offsets[m + 1];
        int32_t area = 0;
        for (const run* r = first; r < last; ++r) area += r->stop - r->start;
        uint32_t count = 0;
        int label = -1;
        if (area > 0 && area >= rules.min_area) {
            for (const run* r = first; r < last; ++r) histogram.count(counted + r->start, r->stop - r->start);
            label = histogram.winner(rules.ignore_background, &count);
        }
        votes[m] = luss_decide(label, static_cast<int32_t>(count), area, rules);
        if (votes[m].written)
            for (const run* r = first; r < last; ++r) fill_labels(map + r->start, r->stop - r->start, static_cast<uint16_t>(label));
    }
}

// Ids in the place of labels, and back: numbers without gaps in the same order, for maps of few labels out of many.
class label_ranks {
  public:
    static constexpr int MANY = 4096; // beyond, clearing and searching the histogram costs more than ranking

    // labels (pixels,) become ranks where there are many; returns the number of bins.
    int rank(uint16_t* labels, int64_t pixels) {
        int largest = 0;
        for (int64_t i = 0; i < pixels; ++i) largest = std::max<int>(largest, labels[i]);
        ids_.clear();
        if (largest < MANY) return largest + 1;
        std::vector<uint16_t> ranks(largest + 1);
        for (int64_t i = 0; i < pixels; ++i) ranks[labels[i]] = 1;
        if (!ranks[0]) ids_.push_back(0); // so that background keeps its number
        for (int id = 0; id <= largest; ++id)
            if (ranks[id]) {
                ranks[id] = static_cast<uint16_t>(ids_.size());
                ids_.push_back(static_cast<uint16_t>(id));
            }
        for (int64_t i = 0; i < pixels; ++i) labels[i] = ranks[labels[i]];
        return static_cast<int>(ids_.size());
    }
    void restore(uint16_t* labels, int64_t pixels, luss_vote* votes, int64_t masks) const {
        if (ids_.empty()) return;
        for (int64_t i = 0; i < pixels; ++i) labels[i] = ids_[labels[i]];
        for (int64_t m = 0; m < masks; ++m)
            if (votes[m].label >= 0) votes[m].label = ids_[votes[m].label];
    }

  private:
    std::vector<uint16_t> ids_;
};

} // namespace luss
