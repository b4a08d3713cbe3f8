// CPU path of engine.ops.masks. Results of unknown length are made first, then fetched: a maker fills offsets (count + 1) and returns a
// handle, luss_masks_take copies what it holds and frees it. A null handle means that memory ran out. Sizes were checked by the caller.
#include <new>

#include "cpu/coco_counts.h"

namespace {

using luss::run;

template <class T> using lists = std::vector<std::vector<T>>;

// make(mask number, its list, the thread's transposer) for every mask; null where memory runs out.
template <class T, class Make> lists<T>* made(int64_t count, int64_t* offsets, int threads, Make make) {
    lists<T>* all = nullptr;
    try {
        all = new lists<T>(count);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
    bool failed = false;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        luss::run_transposer transposer;
        std::vector<T> list;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; ++i) {
            try { // an exception may not leave the parallel region
                list.clear();
                make(i, list, transposer);
                (*all)[i].assign(list.begin(), list.end());
            } catch (const std::bad_alloc&) {
#pragma omp atomic write
                failed = true;
            }
        }
    }
    if (failed) {
        delete all;
        return nullptr;
    }
    offsets[0] = 0;
    for (int64_t i = 0; i < count; ++i) offsets[i + 1] = offsets[i] + static_cast<int64_t>((*all)[i].size());
    return all;
}

template <class T> void take(void* handle, T* out) {
    auto* all = static_cast<lists<T>*>(handle);
    for (const std::vector<T>& list : *all) {
        if (!list.empty()) std::memcpy(out, list.data(), list.size() * sizeof(T));
        out += list.size();
    }
    delete all;
}

} // namespace

extern "C" {

void luss_masks_take_runs(void* handle, run* out) { take(handle, out); }
void luss_masks_take_counts(void* handle, int64_t* out) { take(handle, out); }
void luss_masks_take_text(void* handle, char* out) { take(handle, out); }

void* luss_masks_from_dense(const uint8_t* masks, int64_t count, int64_t pixels, int64_t* offsets, int threads) {
    return made<run>(count, offsets, threads,
                     [=](int64_t i, std::vector<run>& runs, luss::run_transposer&) { luss::runs_of_bytes(masks + i * pixels, pixels, runs); });
}

// good (count,): 0 where a bit past the last pixel is set.
void* luss_masks_from_packed(const uint32_t* words, int64_t count, int64_t pixels, uint8_t* good, int64_t* offsets, int threads) {
    return made<run>(count, offsets, threads, [=](int64_t i, std::vector<run>& runs, luss::run_transposer&) {
        good[i] = luss::runs_of_words(words + i * ((pixels + 31) / 32), pixels, runs);
    });
}

// Of mask i: counts[at[i]] to counts[at[i + 1]] where `text` is null, else the characters between. faults (count,), all 0 before.
void* luss_masks_from_coco(const int64_t* counts, const char* text, const int64_t* at, int64_t count, int height, int width,
                           luss::rle_fault* faults, int64_t* offsets, int threads) {
    const int64_t pixels = static_cast<int64_t>(height) * width;
    return made<run>(count, offsets, threads, [=](int64_t i, std::vector<run>& runs, luss::run_transposer& transposer) {
        std::vector<run> columns;
        const int64_t length = at[i + 1] - at[i];
        const bool good = text ? luss::runs_of_string(text + at[i], length, pixels, columns, faults[i])
                               : luss::runs_of_counts(counts + at[i], length, pixels, columns, faults[i]);
        if (good) transposer.transpose(columns.data(), static_cast<int64_t>(columns.size()), width, height, runs);
    });
}

void* luss_masks_to_counts(const run* runs, const int64_t* at, int64_t count, int height, int width, int64_t* offsets, int threads) {
    return made<int64_t>(count, offsets, threads, [=](int64_t i, std::vector<int64_t>& counts, luss::run_transposer& transposer) {
        std::vector<run> columns;
        transposer.transpose(runs + at[i], at[i + 1] - at[i], height, width, columns);
        luss::counts_of_runs(columns, static_cast<int64_t>(height) * width, counts);
    });
}

void* luss_masks_to_text(const run* runs, const int64_t* at, int64_t count, int height, int width, int64_t* offsets, int threads) {
    return made<char>(count, offsets, threads, [=](int64_t i, std::vector<char>& text, luss::run_transposer& transposer) {
        std::vector<run> columns;
        std::vector<int64_t> counts;
        transposer.transpose(runs + at[i], at[i + 1] - at[i], height, width, columns);
        luss::counts_of_runs(columns, static_cast<int64_t>(height) * width, counts);
        luss::string_of_counts(counts, text);
    });
}

void luss_masks_to_dense(const run* runs, const int64_t* at, int64_t count, int64_t pixels, uint8_t* masks, int threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < count; ++i) luss::bytes_of_runs(runs + at[i], at[i + 1] - at[i], pixels, masks + i * pixels);
}

void luss_masks_to_packed(const run* runs, const int64_t* at, int64_t count, int64_t pixels, uint32_t* words, int threads) {
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (int64_t i = 0; i < count; ++i) luss::words_of_runs(runs + at[i], at[i + 1] - at[i], pixels, words + i * ((pixels + 31) / 32));
}

} // extern "C"
