// CPU path of engine.ops.upsample_argmax; a row of cells at a time, which threads share out. Arguments were checked by the caller.
#include "cpu/cell_argmax.h"
#include "cpu/gemm_pack.h"
#include "luss/label_plan.h"

using namespace luss;

namespace {

// One row of a bilinearly enlarged map (height, width); `line` holds width + 1 numbers.
void enlarge_row(const float* x, int width, const luss_tap& row, const luss_tap* columns, int count, float* line, float* out) {
    const float* upper = x + static_cast<int64_t>(row.first) * width;
    for (int i = 0; i < width; ++i) line[i] = luss_fma(row.weight[0], upper[i], 0.0f);
    if (row.weight[1] != 0)
        for (int i = 0; i < width; ++i) line[i] = luss_fma(row.weight[1], upper[width + i], line[i]);
    line[width] = 0;
    for (int i = 0; i < count; ++i) {
        const luss_tap& column = columns[i];
        const float left = luss_fma(column.weight[0], line[column.first], 0.0f), both = luss_fma(column.weight[1], line[column.first + 1], left);
        out[i] = column.weight[1] != 0 ? both : left;
    }
}

std::vector<luss_tap> make_taps(int source, int middle, int grid, int target) {
    std::vector<luss_tap> taps(target);
    for (int i = 0; i < target; ++i) taps[i] = luss_axis_tap(i, source, middle, grid, target);
    return taps;
}

// What all strips of an image share.
struct image_taps {
    std::vector<luss_tap> rows, columns, attention_rows, attention_columns;
    std::vector<int> start; // first pixel row of each row of cells
    column_taps by_cell;

    image_taps(const luss_label_task& task, const luss_label_plan& plan)
        : rows(make_taps(task.height, task.middle_height, plan.grid_height, plan.height)),
          columns(make_taps(task.width, task.middle_width, plan.grid_width, plan.width)),
          start(column_taps(rows.data(), plan.height, task.height).start), by_cell(columns.data(), plan.width, task.width) {
        if (task.attention_height == 0) return;
        attention_rows = make_taps(task.attention_height, 0, plan.height, plan.height);
        attention_columns = make_taps(task.attention_width, 0, plan.width, plan.width);
    }
};

template <int TAPS> class strip_labeller {
  public:
    explicit strip_labeller(const luss_label_task& task, bool half) : task_(task), labeller_(task.classes) {
        if (half) rows_.resize(static_cast<size_t>(TAPS) * task.classes * task.width);
        line_.resize(task.attention_width + 1);
    }

    // x: the image's logits; y: the row of cells
    template <class T> void run(const T* x, const luss_label_plan& plan, const image_taps& taps, const float* attention, int y, int32_t* out) {
        const int first = taps.start[y], count = taps.start[y + 1] - first;
        if (count == 0) return;
        cell_row row = {};
        row.classes = task_.classes, row.width = task_.width, row.rows_left = task_.height - y;
        row.row_taps = &taps.rows[first], row.row_count = count, row.first_id = task_.first_id;
        row.out = out + plan.out + static_cast<int64_t>(first) * plan.width, row.out_width = plan.width;
        place(x, y, row);
        labeller_.run(row, taps.by_cell);
        if (!attention) return;
        value_.resize(plan.width);
        for (int r = 0; r < count; ++r) {
            const luss_tap* columns = taps.attention_columns.data();
            enlarge_row(attention, task_.attention_width, taps.attention_rows[first + r], columns, plan.width, line_.data(), value_.data());
            int32_t* labels = row.out + static_cast<int64_t>(r) * plan.width;
            for (int i = 0; i < plan.width; ++i) labels[i] = value_[i] < task_.threshold ? 0 : labels[i];
        }
    }

  private:
    void place(const float* x, int y, cell_row& row) {
        row.x = x + static_cast<int64_t>(y) * task_.width;
        row.row_step = task_.width, row.class_step = static_cast<int64_t>(task_.height) * task_.width;
    }
    void place(const uint16_t* x, int y, cell_row& row) { // the rows as float32
        const int width = task_.width;
        for (int t = 0; t < TAPS && t < row.rows_left; ++t)
            for (int k = 0; k < task_.classes; ++k) {
                const uint16_t* from = x + (static_cast<int64_t>(k) * task_.height + y + t) * width;
                float* to = &rows_[(static_cast<size_t>(t) * task_.classes + k) * width];
                int i = 0;
                for (; i + LANES <= width; i += LANES) store(to + i, floats_at(from + i));
                for (; i < width; ++i) to[i] = number(from[i]);
            }
        row.x = rows_.data();
        row.row_step = static_cast<int64_t>(task_.classes) * width, row.class_step = width;
    }

    const luss_label_task& task_;
    cell_labeller<TAPS> labeller_;
    std::vector<float> rows_, line_, value_;
};

template <int TAPS, class T>
void label_images(const T* logits, const luss_label_task& task, const luss_label_plan* plans, const float* attention, int32_t* out, int threads) {
    std::vector<image_taps> taps;
    taps.reserve(task.n);
    for (int i = 0; i < task.n; ++i) taps.emplace_back(task, plans[i]);
    const int64_t numbers = static_cast<int64_t>(task.classes) * task.height * task.width;
    const int64_t of_attention = static_cast<int64_t>(task.attention_height) * task.attention_width;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        strip_labeller<TAPS> labeller(task, sizeof(T) == 2);
#pragma omp for schedule(dynamic)
        for (int64_t strip = 0; strip < static_cast<int64_t>(task.n) * task.height; ++strip) {
            const int64_t image = strip / task.height;
            const float* map = attention ? attention + image * of_attention : nullptr;
            labeller.run(logits + image * numbers, plans[image], taps[image], map, static_cast<int>(strip % task.height), out);
        }
    }
}

} // namespace

extern "C" void luss_plan_labels_cpu(const luss_label_task* task, const int32_t* sizes, int grid_height, int grid_width, int max_res,
                                     luss_label_plan* plans, int64_t* totals) {
    luss_plan_labels(*task, sizes, grid_height, grid_width, max_res, plans, totals, totals + 1);
}

extern "C" void luss_upsample_argmax_cpu(const void* logits, int half, const luss_label_task* task, const luss_label_plan* plans,
                                         const float* attention, int32_t* out, int threads) {
    const bool two_steps = task->middle_height > 0;
    if (half) {
        const uint16_t* x = static_cast<const uint16_t*>(logits);
        two_steps ? label_images<3>(x, *task, plans, attention, out, threads) : label_images<2>(x, *task, plans, attention, out, threads);
    } else {
        const float* x = static_cast<const float*>(logits);
        two_steps ? label_images<3>(x, *task, plans, attention, out, threads) : label_images<2>(x, *task, plans, attention, out, threads);
    }
}

extern "C" void luss_enlarge_map_cpu(const float* x, int height, int width, float* out, int target_height, int target_width) {
    const std::vector<luss_tap> rows = make_taps(height, 0, target_height, target_height), columns = make_taps(width, 0, target_width, target_width);
    std::vector<float> line(width + 1);
    for (int i = 0; i < target_height; ++i)
        enlarge_row(x, width, rows[i], columns.data(), target_width, line.data(), out + static_cast<int64_t>(i) * target_width);
}
