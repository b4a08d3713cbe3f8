/* CPU path of engine.ops.nearest_again.

   Threads take chunks of rows in turn. A chunk is rounded to bytes once; then, set by set: each row's distance to its centroid of before is computed,
   its lower bound is taken down by the largest drift, and rows whose bound still is beyond that distance are settled. The others must meet the
   centroids that have drifted by the difference or more: a prefix of the set's panels, sorted by drift. They go through the product in the order of
   their prefixes, with the own score as threshold, and what is not below it is decided in float32, and where that is too near, in float64. */
#include <omp.h>

#include <new>

#include "cpu/again_worker.h"

namespace luss {
namespace {

constexpr int ROWS = TILE_ROWS;

template <class Scores> struct handle final : again_handle {
    again_problem<ROWS> given;

    handle(const float* c, const float* before, int d, int k, int r, bool cosine, int threads) : given(d, k) {
        given.cosine = cosine;
        if (Scores::ROUNDS_ROWS && !cosine) middle_of(c, static_cast<int64_t>(r) * k);
        given.sets.resize(r);
        bool failed = false;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
        for (int i = 0; i < r; ++i) {
            const int64_t at = static_cast<int64_t>(i) * k * d;
            try {
                given.sets[i].reset(
                    new drifting_set<ROWS>(c + at, before == nullptr ? before : before + at, given.middle.data(), k, d, cosine, Scores::ROUNDS_ROWS));
            } catch (const std::bad_alloc&) {
#pragma omp atomic write
                failed = true;
            }
        }
        if (failed) throw std::bad_alloc();
    }

    void rows(const void* x, bool half, int64_t n, int32_t* label, float* lower, int64_t* work, int threads) override {
        if (half)
            run(static_cast<const uint16_t*>(x), n, label, lower, work, threads);
        else
            run(static_cast<const float*>(x), n, label, lower, work, threads);
    }

private:
    // The mean of all centroids of finite length; zeros without any.
    void middle_of(const float* c, int64_t count) {
        const int d = given.depth;
        std::vector<double> sum(d, 0.0);
        int64_t known = 0;
        for (int64_t j = 0; j < count; ++j) {
            if (!(product_fp64(c + j * d, c + j * d, d) <= 1e30)) continue;
            for (int p = 0; p < d; ++p) sum[p] += c[j * d + p];
            ++known;
        }
        for (int p = 0; p < d && known > 0; ++p) given.middle[p] = static_cast<float>(sum[p] / known);
        given.middle_norm = std::sqrt(product_fp64(given.middle.data(), given.middle.data(), d)) * (1 + 1e-11);
    }

    template <class T> void run(const T* x, int64_t n, int32_t* label, float* lower, int64_t* work, int threads) {
        const int64_t step = rows_of_chunk(given.depth);
        threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, (n + step - 1) / step)));
        std::vector<std::unique_ptr<again_worker<T, Scores, ROWS>>> workers;
        for (int t = 0; t < threads; ++t) workers.emplace_back(new again_worker<T, Scores, ROWS>(given, x, n, label, lower));
#pragma omp parallel num_threads(threads) if (threads > 1)
        {
            again_worker<T, Scores, ROWS>& mine = *workers[omp_get_thread_num()];
#pragma omp for schedule(dynamic)
            for (int64_t first = 0; first < n; first += step) mine.chunk(first, static_cast<int>(std::min(step, n - first)));
        }
        for (const auto& worker : workers)
            for (int i = 0; i < WORK_COUNTERS; ++i) work[i] += worker->work[i];
    }
};

} // namespace
} // namespace luss

extern "C" int luss_nearest_again_has_int8() { return LUSS_HAS_INT8; }

// c, before (null: unknown): (r, k, d); c must stay until the handle is closed. Null where memory ran out. All arguments were checked by the caller.
extern "C" void* luss_nearest_again_open(const float* c, const float* before, int d, int k, int r, int cosine, int int8, int threads) {
    try {
#if LUSS_HAS_INT8
        if (int8) return static_cast<luss::again_handle*>(new luss::handle<luss::int8_scores>(c, before, d, k, r, cosine != 0, threads));
#else
        (void)int8;
#endif
        return static_cast<luss::again_handle*>(new luss::handle<luss::fp32_scores>(c, before, d, k, r, cosine != 0, threads));
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

// label, lower: (r, n), in and out. work: WORK_COUNTERS counts are added to. Returns 0, or 1 where memory ran out: then nothing was changed.
extern "C" int luss_nearest_again_rows(void* handle, const void* x, int x_half, int64_t n, int32_t* label, float* lower, int64_t* work, int threads) {
    try {
        static_cast<luss::again_handle*>(handle)->rows(x, x_half != 0, n, label, lower, work, threads);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

extern "C" void luss_nearest_again_close(void* handle) { delete static_cast<luss::again_handle*>(handle); }
