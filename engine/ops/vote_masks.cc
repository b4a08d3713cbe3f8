// CPU path of engine.ops.vote_masks; a thread takes an image at a time.
#include <new>

#include "cpu/label_votes.h"

namespace {

// As HOST_IMAGE of vote_masks.py: addresses of its map (pixels,), result (pixels,), runs, offsets (masks + 1,) and votes (masks,).
struct host_image {
    const void* map;
    void* out;
    const luss::run* runs;
    const int64_t* offsets;
    luss_vote* votes;
    int64_t pixels, masks;
};

struct buffers {
    std::vector<uint16_t> map, original;
    luss::label_ranks ranks;
};

template <class T> void vote(const host_image& image, const luss_vote_rules& rules, buffers& kept) {
    const T* from = static_cast<const T*>(image.map);
    kept.map.resize(image.pixels + luss::LABELS);
    uint16_t* map = kept.map.data();
    for (int64_t i = 0; i < image.pixels; ++i) map[i] = static_cast<uint16_t>(from[i]);
    const int bins = kept.ranks.rank(map, image.pixels);
    if (rules.on_original) kept.original = kept.map;
    luss::vote_in_turn(map, rules.on_original ? kept.original.data() : nullptr, bins, image.runs, image.offsets, image.masks, rules, image.votes);
    kept.ranks.restore(map, image.pixels, image.votes, image.masks);
    T* to = static_cast<T*>(image.out);
    for (int64_t i = 0; i < image.pixels; ++i) to[i] = static_cast<T>(map[i]);
}

} // namespace

// wide: maps are int32, else uint16. All was checked by the caller. Returns 0, or 1 where memory runs out.
extern "C" int luss_vote_masks_cpu(const host_image* images, int64_t count, int wide, const luss_vote_rules* rules, int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        buffers kept;
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < count; ++i) {
            try { // an exception may not leave the parallel region
                wide ? vote<int32_t>(images[i], *rules, kept) : vote<uint16_t>(images[i], *rules, kept);
            } catch (const std::bad_alloc&) {
#pragma omp atomic write
                failed = 1;
            }
        }
    }
    return failed;
}
