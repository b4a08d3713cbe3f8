/* The records of vote_masks, as C sees them, and the rule by which a mask's histogram becomes a vote. Plain C++ for g++ and nvcc.
   Fields have the meaning that engine/ops/vote_masks.py gives them. */
#pragma once
#include "luss/crop_table.h"

struct luss_vote {
    int32_t label, count, area, written; // label -1: nothing voted
};

struct luss_vote_rules {
    double min_share;
    int32_t min_area, on_original, ignore_background, unused;
};

/* One image of a batch: its map from pixel `first_pixel` of the maps' buffer on; of its masks the first one's number, and, where masks are
   bit-packed, the first word of mask 0: mask m has ceil(pixels / 32) words from first_word + m ceil(pixels / 32) on. */
struct luss_vote_image {
    int64_t first_pixel, first_word;
    int32_t pixels, first_mask, masks, unused;
};

static_assert(sizeof(luss_vote) == 16, "luss_vote must match VOTE of engine/ops/vote_masks.py");
static_assert(sizeof(luss_vote_rules) == 24, "luss_vote_rules must match RULES of engine/ops/vote_masks.py");
static_assert(sizeof(luss_vote_image) == 32, "luss_vote_image must match IMAGE of engine/ops/vote_masks.py");

/* label: the smallest of the most frequent ids among `area` pixels, of which `count` have it. The product is rounded once, in double. */
LUSS_BOTH luss_vote luss_decide(int32_t label, int32_t count, int32_t area, const luss_vote_rules& rules) {
    luss_vote vote = {-1, 0, area, 0};
    if (count == 0 || area < rules.min_area) return vote;
    vote.label = label;
    vote.count = count;
    vote.written = static_cast<double>(count) >= rules.min_share * static_cast<double>(area);
    return vote;
}
