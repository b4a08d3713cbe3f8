/* The records of evaluation crops, and the taps they need, as C sees them. Plain C++ for g++ and nvcc.

   `taps` is one array of int32 for all cuts. An axis of a cut (its rows, or its columns) begins somewhere in it with one pair for each of its
   pixels and one more: the first pixel of the image that it is made of, and where in `taps` its weights begin; they end where the next
   pixel's begin. Weights are whole numbers of 2^-22, none negative, of sum about 1. First and last pixels never go down along an axis.
   Axes that are the same are stored once, so images of one size share theirs. */
#pragma once
#include "luss/crop_table.h"

/* CUT of engine/ops/crop_table.py. */
struct luss_cut {
    int32_t image, height, width, top, left;
};

/* Where the axes of a cut begin in `taps`, and whether the pass down the columns comes first. */
struct luss_cut_axes {
    int32_t down, across, columns_first;
};

static_assert(sizeof(luss_cut) == 20, "luss_cut must match CUT of engine/ops/crop_table.py");
static_assert(sizeof(luss_cut_axes) == 12, "luss_cut_axes must match (n, 3) int32 of engine/ops/resize_crops.py");
