/* What upsample_argmax does with each image of a batch, as C sees it. Filled by luss_plan_labels for CPU and CUDA alike. */
#pragma once
#include <cstdint>

/* Of the whole batch; the same as TASK in engine/ops/upsample_argmax.py. */
struct luss_label_task {
    int32_t n, classes, height, width;         // of the logits (n, classes, height, width)
    int32_t middle_height, middle_width;       // the first of two bilinear steps leads here; 0: one step
    int32_t attention_height, attention_width; // of attention (n, .., ..) float32; 0: none
    int32_t first_id;                          // id of class 0
    float threshold;                           // attention below it: id 0
};

/* Of one image; the same as PLAN there. Labels are made on the grid and looked up by nearest where it is not the image's size. */
struct luss_label_plan {
    int64_t out, taps; // first label in out, first of its taps: rows, columns, and for an attention rows, columns again
    int32_t height, width, grid_height, grid_width;
};
static_assert(sizeof(luss_label_task) == 40 && sizeof(luss_label_plan) == 32, "TASK and PLAN of engine/ops/upsample_argmax.py");

/* On the host. sizes (n, 2): height and width of each image, >= 1. The grid is (grid_height, grid_width) for all, or where that is 0 the image's
   size, or where max_res > 0 and the image has more than max_res^2 pixels max_res rows and int(max_res * width / height) columns
   (spec/pass.md 8). pixels, taps: what out and the table of taps must hold. */
inline void luss_plan_labels(const luss_label_task& task, const int32_t* sizes, int grid_height, int grid_width, int max_res,
                             luss_label_plan* plans, int64_t* pixels, int64_t* taps) {
    *pixels = *taps = 0;
    for (int i = 0; i < task.n; ++i) {
        luss_label_plan& plan = plans[i];
        plan.height = sizes[2 * i], plan.width = sizes[2 * i + 1];
        const int64_t area = static_cast<int64_t>(plan.height) * plan.width;
        plan.grid_height = plan.height, plan.grid_width = plan.width;
        if (grid_height > 0) {
            plan.grid_height = grid_height, plan.grid_width = grid_width;
        } else if (max_res > 0 && area > static_cast<int64_t>(max_res) * max_res) {
            const int columns = static_cast<int>(static_cast<double>(static_cast<int64_t>(max_res) * plan.width) / plan.height);
            plan.grid_height = max_res, plan.grid_width = columns > 1 ? columns : 1;
        }
        plan.out = *pixels, plan.taps = *taps;
        *pixels += area;
        *taps += (static_cast<int64_t>(plan.height) + plan.width) * (task.attention_height ? 2 : 1);
    }
}

/* Scores of pixel_nearest_centroid: products are added by fused multiply-adds in runs of this many, and the runs' sums one after another. */
constexpr int LUSS_SCORE_RUN = 192;
