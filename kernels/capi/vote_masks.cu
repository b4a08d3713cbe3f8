#include "luss/vote_masks.cuh"
#include "capi/checks.h"

static_assert(sizeof(luss_vote_record) == sizeof(luss_vote) && offsetof(luss_vote_record, written) == offsetof(luss_vote, written), "luss_vote_record");
static_assert(sizeof(luss_vote_image_record) == sizeof(luss_vote_image) && offsetof(luss_vote_image_record, masks) == offsetof(luss_vote_image, masks),
              "luss_vote_image_record");

extern "C" size_t luss_vote_masks_scratch(int n, int bins) { return n <= 0 || bins <= 0 ? 0 : luss::vote_masks_scratch(n, bins); }

namespace {

/* Everything but the masks; `run(from, map, rules, images, votes)` launches. */
template <class Run>
int vote(luss::capi::checks& given, const void* from, void* map, int label_type, const luss_vote_image_record* images, int n, int on_original,
         int min_area, double min_share, int ignore_background, int bins, luss_vote_record* votes, void* scratch, size_t scratch_bytes, const Run& run) {
    given.range("label_type (LUSS_UINT16 2, LUSS_INT32 3)", label_type, LUSS_UINT16, LUSS_INT32).range("n", n, 0, INT32_MAX);
    given.range("on_original", on_original, 0, 1).range("min_area", min_area, 0, INT32_MAX).between("min_share", min_share, 0, 1);
    given.range("ignore_background", ignore_background, 0, 1).range("bins", bins, 1, 65536);
    const int alignment = label_type == LUSS_UINT16 ? 2 : 4;
    given.array("from", from, n, alignment).array("map", map, n, alignment).array("images", images, n, 8).array("votes", votes, n, 4);
    if (on_original && from == map && n > 0) given.refuse("map: expected another buffer than from, as on_original is 1");
    given.scratch(scratch, scratch_bytes, luss_vote_masks_scratch(n, bins));
    if (!given.good() || n == 0) return given.code();
    const luss_vote_rules rules = {min_share, min_area, on_original, ignore_background, 0};
    const luss_vote_image* table = reinterpret_cast<const luss_vote_image*>(images);
    luss_vote* cast = reinterpret_cast<luss_vote*>(votes);
    return given.launch([&] {
        return label_type == LUSS_UINT16 ? run(static_cast<const uint16_t*>(from), static_cast<uint16_t*>(map), rules, table, cast)
                                         : run(static_cast<const int32_t*>(from), static_cast<int32_t*>(map), rules, table, cast);
    });
}

} // namespace

extern "C" int luss_vote_masks_runs(const void* from, void* map, int label_type, const luss_vote_image_record* images, int n, const int32_t* runs,
                                    const int64_t* offsets, int on_original, int min_area, double min_share, int ignore_background, int bins,
                                    luss_vote_record* votes, void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("vote_masks_runs");
    given.array("offsets", offsets, n, 8);
    if (runs != nullptr) given.array("runs", runs, n, 4); // without any set pixel there is no run
    return vote(given, from, map, label_type, images, n, on_original, min_area, min_share, ignore_background, bins, votes, scratch, scratch_bytes,
                [&](const auto* before, auto* after, luss_vote_rules rules, const luss_vote_image* table, luss_vote* cast) {
                    return luss::vote_masks_runs(before, after, table, n, runs, offsets, rules, bins, scratch, cast, static_cast<cudaStream_t>(stream));
                });
}

extern "C" int luss_vote_masks_packed(const void* from, void* map, int label_type, const luss_vote_image_record* images, int n, const uint32_t* words,
                                      int on_original, int min_area, double min_share, int ignore_background, int bins, luss_vote_record* votes,
                                      void* scratch, size_t scratch_bytes, void* stream) {
    luss::capi::checks given("vote_masks_packed");
    given.array("words", words, n, 4);
    return vote(given, from, map, label_type, images, n, on_original, min_area, min_share, ignore_background, bins, votes, scratch, scratch_bytes,
                [&](const auto* before, auto* after, luss_vote_rules rules, const luss_vote_image* table, luss_vote* cast) {
                    return luss::vote_masks_packed(before, after, table, n, words, rules, bins, scratch, cast, static_cast<cudaStream_t>(stream));
                });
}
