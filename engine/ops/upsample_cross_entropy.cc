// CPU path of engine.ops.upsample_cross_entropy. A unit of work is an image and a stretch of result rows that share their source rows; each keeps
// the gradient of its 2 or 3 source rows to itself, and they are added in order at the end: no result depends on the number of threads.
#include <omp.h>

#include <stdlib.h>
#include <memory>
#include <new>

#include "cpu/cross_entropy_run.h"
#include "luss/entropy_scratch.h"

namespace {

using namespace luss;

struct problem {
    const float* logits;   // (n, k, h, w)
    const int32_t* labels; // (n, height, width)
    int n, k, h, w, height, width, padded, columns; // columns: w, or as many as there are taps
    bool has_ignore;
    int32_t ignore;
    int threads;
    std::vector<luss_run> rows, across;
    std::vector<int32_t> windows; // of rows

    int units() const { return n * (static_cast<int>(windows.size()) - 1); }
    int64_t row_size() const { return static_cast<int64_t>(columns) * padded; }
    bool counts(int32_t label) const { return !has_ignore || label != ignore; }
};

struct release {
    void operator()(void* p) const { std::free(p); }
};
using buffer = std::unique_ptr<float, release>;

buffer make_buffer(int64_t count) {
    void* p = aligned_alloc(64, static_cast<size_t>(count * 4 + 63) / 64 * 64);
    if (!p) throw std::bad_alloc();
    return buffer(static_cast<float*>(p));
}

// One source row, classes innermost and padded, every pixel shifted so that its largest logit is 0. False where a logit is NaN or infinite.
bool shift_row(const problem& p, int image, int y, float* to) {
    const int64_t plane = static_cast<int64_t>(p.h) * p.w;
    const float* from = p.logits + image * p.k * plane + static_cast<int64_t>(y) * p.w;
    for (int64_t i = 0; i < p.row_size(); ++i) to[i] = LOWEST;
    for (int k = 0; k < p.k; ++k)
        for (int x = 0; x < p.w; ++x) to[static_cast<int64_t>(x) * p.padded + k] = from[k * plane + x];
    bool finite = true;
    for (int x = 0; x < p.w; ++x) {
        float* pixel = to + static_cast<int64_t>(x) * p.padded;
        vf largest = constant(-INFINITY, vf{});
        vi wrong{};
        for (int k = 0; k < p.padded; k += LANES) {
            const vf v = at(pixel, k);
            wrong |= ~(v - v == 0.0f); // infinite or NaN
            largest = most(largest, k + LANES <= p.k ? v : select(lane_numbers() < p.k - k, v, largest));
        }
        finite &= !any(wrong);
        float top = largest[0];
        for (int i = 1; i < LANES; ++i) top = std::max(top, largest[i]);
        for (int k = 0; k < p.k; ++k) pixel[k] = std::max(pixel[k] - top, LOWEST);
    }
    return finite;
}

struct unit_result {
    double loss;
    int64_t right;
};

// Labels of the pixels that one run stands for in one distinct row: how many count, their logits off the loss, how many are the largest.
bool read_labels(const problem& p, int image, const luss_run& down, int jy, const luss_run& run, const run_scratch& s, const run_pixels& pixels,
                 int* counted, unit_result& result) {
    bool some = false;
    for (int j = 0; j < run.pixels; ++j) {
        counted[j] = 0;
        for (int i = 0; i < down.copies * run.copies; ++i) {
            const int64_t y = down.first + jy * down.copies + i / run.copies, x = run.first + j * run.copies + i % run.copies;
            const int32_t label = p.labels[(image * static_cast<int64_t>(p.height) + y) * p.width + x];
            if (!p.counts(label)) continue;
            const float z = fused(constant(static_cast<float>(j), vf{}), constant(s.d[label], vf{}), constant(s.a[label], vf{}))[0];
            result.loss -= z;
            result.right += z >= pixels.largest[j];
            ++counted[j];
        }
        some |= counted[j] > 0;
    }
    return some;
}

// sum over the pixels of log(sum of exp): logarithms of products of sums, each of them between exp(-40) and 2^20, so 16 fit into a double.
double log_sums(const luss_run& run, const run_pixels& pixels, const int* counted) {
    double product = 1, total = 0;
    for (int j = 0; j < run.pixels; ++j) {
        if (counted[j] == 1) product *= pixels.sum[j];
        if (counted[j] > 1) total += counted[j] * std::log(static_cast<double>(pixels.sum[j]));
        if (pixels.direct) total += counted[j] * static_cast<double>(pixels.largest[j]);
    }
    return total + std::log(product);
}

// The labels' own part of the gradient: minus the weights of every counted pixel, at its label.
template <int TAPS> void take_labels(const problem& p, int image, const luss_run& down, int jy, const luss_run& run, float* row) {
    for (int j = 0; j < run.pixels; ++j)
        for (int i = 0; i < down.copies * run.copies; ++i) {
            const int64_t y = down.first + jy * down.copies + i / run.copies, x = run.first + j * run.copies + i % run.copies;
            const int32_t label = p.labels[(image * static_cast<int64_t>(p.height) + y) * p.width + x];
            if (!p.counts(label)) continue;
            for (int t = 0; t < TAPS; ++t)
                row[static_cast<int64_t>(run.tap + t) * p.padded + label] -= run.start[t] + static_cast<float>(j) * run.step[t];
        }
}

// shifted: the image's source rows. planes: the unit's TAPS rows of gradient, or null. scratch: 2 rows and 5 vectors.
template <int TAPS> unit_result do_unit(const problem& p, int image, int window, const float* shifted, float* planes, float* scratch) {
    const int64_t size = p.row_size();
    float *row = scratch, *gradient = scratch + size, *vectors = gradient + size;
    const run_scratch s = {p.k, p.padded, vectors, vectors + p.padded, vectors + 2 * p.padded, vectors + 3 * p.padded, vectors + 4 * p.padded};
    unit_result result = {0, 0};
    if (planes) std::fill(planes, planes + TAPS * size, 0.0f);
    for (int r = p.windows[window]; r < p.windows[window + 1]; ++r) {
        const luss_run& down = p.rows[r];
        const int taps = std::min(TAPS, p.h - down.tap);
        for (int jy = 0; jy < down.pixels; ++jy) {
            vf weight[TAPS];
            const vf number = constant(static_cast<float>(jy), vf{});
            for (int t = 0; t < TAPS; ++t) weight[t] = fused(number, constant(down.step[t], vf{}), constant(down.start[t], vf{}));
            const float* from = shifted + down.tap * size;
            for (int64_t i = 0; i < size; i += LANES) {
                vf v = weight[0] * load<vf>(from + i);
                for (int t = 1; t < taps; ++t) v = fused(weight[t], load<vf>(from + t * size + i), v);
                store(row + i, v);
            }
            if (planes) std::fill(gradient, gradient + size, 0.0f);
            for (const luss_run& run : p.across) {
                run_pixels pixels;
                int counted[RUN_PIXELS];
                prepare_run<TAPS>(run, row, s, pixels);
                if (!read_labels(p, image, down, jy, run, s, pixels, counted, result)) continue;
                if (pixels.direct)
                    sum_direct(run.pixels, s, pixels);
                else
                    sum_run<LONGEST>(run, s, pixels);
                result.loss += log_sums(run, pixels, counted);
                if (!planes) continue;
                const run_shares<TAPS> shares(run, counted, pixels);
                if (pixels.direct)
                    gradient_direct<TAPS>(run, s, pixels, shares, gradient);
                else
                    gradient_run<TAPS, LONGEST>::run(run, s, shares, gradient);
                take_labels<TAPS>(p, image, down, jy, run, gradient);
            }
            if (!planes) continue;
            for (int t = 0; t < taps; ++t)
                for (int64_t i = 0; i < size; i += LANES)
                    store(planes + t * size + i, fused(weight[t], load<vf>(gradient + i), load<vf>(planes + t * size + i)));
        }
    }
    return result;
}

// One source row of the result: the units' planes added in order, times scale.
template <int TAPS> void gather_row(const problem& p, int image, int y, const float* planes, float scale, float* out) {
    const int windows = static_cast<int>(p.windows.size()) - 1;
    const int64_t size = p.row_size(), plane = static_cast<int64_t>(p.h) * p.w;
    float* to = out + image * p.k * plane + static_cast<int64_t>(y) * p.w;
    const float* from[TAPS];
    int found = 0;
    for (int window = 0; window < windows; ++window) {
        const int t = y - p.rows[p.windows[window]].tap;
        if (t >= 0 && t < TAPS) from[found++] = planes + ((static_cast<int64_t>(image) * windows + window) * TAPS + t) * size;
    }
    for (int k = 0; k < p.k; k += LANES)
        for (int x = 0; x < p.w; ++x) {
            vf sum{};
            for (int i = 0; i < found; ++i) sum += load<vf>(from[i] + static_cast<int64_t>(x) * p.padded + k);
            sum *= scale;
            for (int i = 0; i < LANES && k + i < p.k; ++i) to[(k + i) * plane + x] = sum[i];
        }
}

template <int TAPS> void solve(const problem& p, float* loss, float* accuracy, float* gradient) {
    const int windows = static_cast<int>(p.windows.size()) - 1, units = p.units();
    const int64_t size = p.row_size(), pixels = static_cast<int64_t>(p.height) * p.width, source = static_cast<int64_t>(p.k) * p.h * p.w;
    const int64_t scratch_size = 2 * size + 5 * p.padded;
    const buffer shifted = make_buffer(p.n * p.h * size), scratch = make_buffer(p.threads * scratch_size);
    const buffer planes = gradient ? make_buffer(units * TAPS * size) : buffer();
    std::vector<int64_t> counted(p.n);
    std::vector<char> finite(static_cast<size_t>(p.n) * p.h);
    std::vector<unit_result> results(units);
    std::vector<char> valid(p.n, 1);
#pragma omp parallel num_threads(p.threads) if (p.threads > 1)
    {
#pragma omp for schedule(static)
        for (int i = 0; i < p.n * p.h; ++i) finite[i] = shift_row(p, i / p.h, i % p.h, shifted.get() + i * size);
#pragma omp for schedule(static)
        for (int i = 0; i < p.n; ++i) {
            for (int y = 0; y < p.h; ++y) valid[i] &= finite[i * p.h + y];
            counted[i] = 0;
            for (int64_t j = 0; j < pixels; ++j) counted[i] += p.counts(p.labels[i * pixels + j]);
        }
    }
    int64_t all = 0;
    for (int64_t count : counted) all += count;
    const float scale = all ? static_cast<float>(1.0 / static_cast<double>(all)) : 0;
#pragma omp parallel for num_threads(p.threads) if (p.threads > 1) schedule(dynamic)
    for (int unit = 0; unit < units; ++unit) {
        const int image = unit / windows;
        results[unit] = {0, 0};
        if (!valid[image] || counted[image] == 0) continue;
        float* mine = scratch.get() + omp_get_thread_num() * scratch_size;
        float* own_planes = gradient ? planes.get() + unit * TAPS * size : nullptr;
        results[unit] = do_unit<TAPS>(p, image, unit % windows, shifted.get() + image * p.h * size, own_planes, mine);
    }
    double sum = 0;
    int64_t right = 0;
    for (const unit_result& result : results) sum += result.loss, right += result.right;
    for (int i = 0; i < p.n; ++i)
        if (!valid[i] && counted[i]) sum = NAN;
    *loss = all ? static_cast<float>(sum / static_cast<double>(all)) : 0;
    *accuracy = all ? static_cast<float>(static_cast<double>(right) / static_cast<double>(all)) : 0;
    if (!gradient) return;
#pragma omp parallel for num_threads(p.threads) if (p.threads > 1) schedule(static)
    for (int i = 0; i < p.n * p.h; ++i) {
        const int image = i / p.h, y = i % p.h;
        if (valid[image] && counted[image]) {
            gather_row<TAPS>(p, image, y, planes.get(), scale, gradient);
        } else {
            const float value = counted[image] ? NAN : 0.0f;
            for (int k = 0; k < p.k; ++k) std::fill_n(gradient + image * source + (static_cast<int64_t>(k) * p.h + y) * p.w, p.w, value);
        }
    }
}

int start(const void* logits, const void* labels, void* loss, void* accuracy, void* gradient, const double* numbers) {
    const auto whole = [numbers](int i) { return static_cast<int>(numbers[i]); };
    try {
        problem p = {};
        p.logits = static_cast<const float*>(logits);
        p.labels = static_cast<const int32_t*>(labels);
        p.n = whole(0), p.k = whole(1), p.h = whole(2), p.w = whole(3), p.height = whole(6), p.width = whole(7);
        p.has_ignore = numbers[8] != 0, p.ignore = whole(9), p.threads = whole(10);
        const int taps = whole(4) || whole(5) ? 3 : 2;
        p.padded = (p.k + LANES - 1) / LANES * LANES;
        p.columns = std::max(p.w, taps);
        p.rows = axis_runs(p.h, whole(4), p.height, RUN_PIXELS);
        p.across = axis_runs(p.w, whole(5), p.width, LONGEST);
        p.windows = axis_windows(p.rows);
        (taps == 2 ? solve<2> : solve<3>)(p, static_cast<float*>(loss), static_cast<float*>(accuracy), static_cast<float*>(gradient));
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}

} // namespace

// logits (n, k, h, w) float32; labels (n, height, width) int32, checked by the caller; loss, accuracy (1,) float32; gradient like logits.
// numbers: n, k, h, w, middle height, middle width (both 0: one step), height, width, has_ignore, ignore, threads. 1: no memory.
extern "C" int luss_upsample_cross_entropy(const void* logits, const void* labels, void* loss, void* accuracy, void* gradient,
                                           const double* numbers) {
    return start(logits, labels, loss, accuracy, gradient, numbers);
}

// The same without the gradient.
extern "C" int luss_upsample_cross_entropy_forward(const void* logits, const void* labels, void* loss, void* accuracy, const double* numbers) {
    return start(logits, labels, loss, accuracy, nullptr, numbers);
}

// The table of one axis, for the CUDA path: runs has room for target of them, windows for target + 1. Returns the number of windows.
extern "C" int luss_upsample_axis(int source, int middle, int target, luss_run* runs, int32_t* windows) {
    const std::vector<luss_run> found = axis_runs(source, middle, target, RUN_PIXELS);
    const std::vector<int32_t> starts = axis_windows(found);
    std::copy(found.begin(), found.end(), runs);
    std::copy(starts.begin(), starts.end(), windows);
    return static_cast<int>(starts.size()) - 1;
}

// Bytes of working memory of the CUDA path.
extern "C" int64_t luss_upsample_cross_entropy_scratch(int n, int classes, int row_windows, int column_windows, int two_steps, int gradient) {
    return upsample_cross_entropy_scratch(n, classes, row_windows, column_windows, two_steps != 0, gradient != 0);
}
