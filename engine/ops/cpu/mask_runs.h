// Binary masks as runs of set pixels: out of bytes and bits, into them, and from row-major to column-major order.
#pragma once
#include <algorithm>
#include <climits>
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace luss {

// The set pixels [start, stop) of a mask whose pixels are numbered row by row (or column by column, where that is said).
// The runs of a mask ascend and do not touch.
struct run {
    int32_t start, stop;
};

// Bit i: byte i is not 0.
inline uint64_t bits_of_bytes(const uint8_t* p) {
#if defined(__AVX512BW__)
    const __m512i v = _mm512_loadu_si512(p);
    return _mm512_test_epi8_mask(v, v);
#elif defined(__AVX2__)
    const __m256i zero = _mm256_setzero_si256();
    const uint32_t low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), zero));
    const uint32_t high = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32)), zero));
    return ~(static_cast<uint64_t>(high) << 32 | low);
#else
    uint64_t bits = 0;
    for (int i = 0; i < 64; ++i) bits |= static_cast<uint64_t>(p[i] != 0) << i;
    return bits;
#endif
}

// Takes a mask's bits 64 at a time, the first pixel lowest, and appends its runs.
class run_finder {
  public:
    explicit run_finder(std::vector<run>& runs) : runs_(runs) {}

    void take(uint64_t bits, int64_t first_pixel) {
        uint64_t edges = bits ^ (bits << 1 | last_);
        last_ = bits >> 63;
        for (; edges != 0; edges &= edges - 1) {
            const int32_t at = static_cast<int32_t>(first_pixel + __builtin_ctzll(edges));
            if (open_ < 0) {
                open_ = at;
            } else {
                runs_.push_back({open_, at});
                open_ = -1;
            }
        }
    }
    void end(int64_t pixels) {
        if (open_ >= 0) runs_.push_back({open_, static_cast<int32_t>(pixels)});
    }

  private:
    std::vector<run>& runs_;
    int32_t open_ = -1;
    uint64_t last_ = 0;
};

inline void runs_of_bytes(const uint8_t* mask, int64_t pixels, std::vector<run>& runs) {
    run_finder finder(runs);
    int64_t at = 0;
    for (; at + 64 <= pixels; at += 64) finder.take(bits_of_bytes(mask + at), at);
    if (at < pixels) {
        uint8_t rest[64] = {};
        std::memcpy(rest, mask + at, pixels - at);
        finder.take(bits_of_bytes(rest), at);
    }
    finder.end(pixels);
}

// Bit i of word j is pixel 32 j + i. False where a bit past the last pixel is set.
inline bool runs_of_words(const uint32_t* words, int64_t pixels, std::vector<run>& runs) {
    run_finder finder(runs);
    const int64_t count = (pixels + 31) / 32;
    for (int64_t j = 0; j < count; j += 2) finder.take(words[j] | static_cast<uint64_t>(j + 1 < count ? words[j + 1] : 0) << 32, 32 * j);
    finder.end(pixels);
    return pixels % 32 == 0 || words[count - 1] >> pixels % 32 == 0;
}

inline void bytes_of_runs(const run* runs, int64_t count, int64_t pixels, uint8_t* mask) {
    std::memset(mask, 0, pixels);
    for (int64_t i = 0; i < count; ++i) std::memset(mask + runs[i].start, 1, runs[i].stop - runs[i].start);
}

inline void words_of_runs(const run* runs, int64_t count, int64_t pixels, uint32_t* words) {
    std::memset(words, 0, (pixels + 31) / 32 * 4);
    for (int64_t i = 0; i < count; ++i) {
        const int32_t first = runs[i].start / 32, last = (runs[i].stop - 1) / 32;
        const uint32_t from = ~0u << runs[i].start % 32, to = ~0u >> (31 - (runs[i].stop - 1) % 32);
        if (first == last) {
            words[first] |= from & to;
            continue;
        }
        words[first] |= from;
        std::fill(words + first + 1, words + last, ~0u);
        words[last] |= to;
    }
}

// Runs along lines to runs across them, without a mask: where a line differs from the one before it, runs across begin or end.
// Time in proportion to the runs of both sides and to the lines. One for each thread: it keeps its buffers.
class run_transposer {
  public:
    // from: `count` runs of a mask of `lines` lines of `length` pixels. to: its runs in the other order, pixel (line, i) at i * lines + line.
    void transpose(const run* from, int64_t count, int32_t lines, int32_t length, std::vector<run>& to) {
        opened_.clear(), closed_.clear(), before_.clear();
        find_changes(from, count, lines, length);
        ends_.assign(length + 1, 0);
        for (const change& c : opened_) ++ends_[c.first], --ends_[c.last];
        int32_t depth = 0, total = 0; // of the runs across: how many at i, how many before i
        for (int32_t i = 0; i <= length; ++i) {
            depth += ends_[i];
            ends_[i] = total;
            total += depth;
        }
        starts_ = ends_;
        to.resize(total);
        for (const change& c : opened_)
            for (int32_t i = c.first; i < c.last; ++i) to[starts_[i]++].start = i * lines + c.line;
        for (const change& c : closed_)
            for (int32_t i = c.first; i < c.last; ++i) to[ends_[i]++].stop = i * lines + c.line;
        join(to);
    }

  private:
    // At `line`, positions [first, last) become set, or unset.
    struct change {
        int32_t line, first, last;
    };

    void find_changes(const run* from, int64_t count, int32_t lines, int32_t length) {
        int64_t k = 0;
        for (int32_t line = 0; line < lines; ++line) {
            if (before_.empty()) { // to the next line with anything
                if (k == count) return;
                line = std::max(line, from[k].start / length);
            }
            const int32_t base = line * length;
            now_.clear();
            while (k < count && from[k].start - base < length) {
                now_.push_back(std::max(from[k].start - base, 0));
                now_.push_back(std::min(from[k].stop - base, length));
                if (from[k].stop - base > length) break; // goes on in the next line
                ++k;
            }
            compare(line);
            now_.swap(before_);
        }
        now_.clear();
        compare(lines);
    }

    // before_ and now_ hold the edges of a line's runs: a start, a stop, a start ...
    void compare(int32_t line) {
        if (before_ == now_) return;
        size_t i = 0, j = 0;
        int32_t last = 0;
        while (i < before_.size() || j < now_.size()) {
            const int32_t was = i < before_.size() ? before_[i] : INT_MAX, is = j < now_.size() ? now_[j] : INT_MAX, at = std::min(was, is);
            if (i % 2 != j % 2 && at > last) (j % 2 ? opened_ : closed_).push_back({line, last, at});
            i += was == at;
            j += is == at;
            last = at;
        }
    }

    // Runs that end where the next one begins become one.
    static void join(std::vector<run>& runs) {
        size_t kept = 0;
        for (size_t i = 0; i < runs.size(); ++i) {
            if (kept > 0 && runs[kept - 1].stop == runs[i].start) runs[kept - 1].stop = runs[i].stop;
            else runs[kept++] = runs[i];
        }
        runs.resize(kept);
    }

    std::vector<change> opened_, closed_;
    std::vector<int32_t> before_, now_, starts_, ends_;
};

} // namespace luss
