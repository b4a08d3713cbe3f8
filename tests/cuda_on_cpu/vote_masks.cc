// kernels/luss/vote_masks.cuh on the CPU, between guards; called by tests/engine/ops/test_vote_masks_cuda.py.
#include "cuda_on_cpu.h"
#include "luss/vote_masks.cuh"

using cuda_on_cpu::Guarded;

namespace {

template <class T>
void vote(const T* maps, int64_t pixels, const luss_vote_image* images, int count, const uint32_t* words, int64_t word_count, const int32_t* runs,
          int64_t run_count, const int64_t* offsets, int64_t masks, const luss_vote_rules& rules, int bins, int in_place, T* out, luss_vote* votes) {
    Guarded<T> from(maps, pixels), result(pixels);
    Guarded<luss_vote_image> table(images, count);
    Guarded<luss_vote> cast(masks);
    cuda_on_cpu::GuardedBytes scratch(luss::vote_masks_scratch(count, bins), 4);
    T* to = in_place ? from.data() : result.data();
    if (words) {
        Guarded<uint32_t> packed(words, word_count);
        luss::vote_masks_packed(from.data(), to, table.data(), count, packed.data(), rules, bins, scratch.data(), cast.data(), nullptr);
    } else {
        Guarded<int32_t> pieces(runs, 2 * run_count);
        Guarded<int64_t> first(offsets, masks + 1);
        luss::vote_masks_runs(from.data(), to, table.data(), count, pieces.data(), first.data(), rules, bins, scratch.data(), cast.data(), nullptr);
    }
    (in_place ? from : result).copy_to(out, "map");
    scratch.check("scratch");
    cast.copy_to(votes, "votes");
}

} // namespace

// words, or null and runs with offsets; wide: maps are int32, else uint16; in_place: the result lies where the maps lay.
extern "C" int luss_emulate_vote_masks(const void* maps, int64_t pixels, const luss_vote_image* images, int count, const uint32_t* words,
                                       int64_t word_count, const int32_t* runs, int64_t run_count, const int64_t* offsets, int64_t masks,
                                       const luss_vote_rules* rules, int bins, int wide, int in_place, void* out, luss_vote* votes, int order,
                                       char* message, int room) {
    cuda_on_cpu::order() = static_cast<cuda_on_cpu::Order>(order);
    try {
        if (wide)
            vote(static_cast<const int32_t*>(maps), pixels, images, count, words, word_count, runs, run_count, offsets, masks, *rules, bins,
                 in_place, static_cast<int32_t*>(out), votes);
        else
            vote(static_cast<const uint16_t*>(maps), pixels, images, count, words, word_count, runs, run_count, offsets, masks, *rules, bins,
                 in_place, static_cast<uint16_t*>(out), votes);
    } catch (const cuda_on_cpu::Fault& fault) {
        snprintf(message, room, "%s", fault.what());
        return 1;
    }
    return 0;
}
