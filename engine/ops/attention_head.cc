/* CPU path of engine.ops.attention_head. Two products with cpu/gemm_tile.h, both over tiles of columns and chunks of output channels:
   1. scale1 W1 f on the small map, stored: 1/16 of the size of one enlarged map;
   2. W2 r, where a tile of r = relu(enlarged(that) / |u| + shift1) is made for each chunk anew (it costs C operations where the product costs
      2 C x chunk), and what comes out is turned into sigmoid, attention and pooled sums while it is in registers.
   Extra memory: C h w floats an image, 16 h w norms, C x CHUNK packed weights, C x TILE of r for each thread.
   Tiles and chunks depend on the sizes alone, and their shares are added in order: the number of threads changes no bit. */
#include <memory>
#include <new>

#include "cpu/gemm_pack.h"
#include "cpu/pixel_norms.h"

namespace luss {
namespace {

constexpr int GROUP = ROW_GROUP * TILE_ROWS;  // channels whose enlarged features are at hand at once
constexpr int CHUNK = 512 / GROUP * GROUP;    // output channels whose weights are packed at once
constexpr int TILE_PANELS = 256 / TILE_COLUMNS; // of columns

struct head {
    const float *features, *weight1, *scale1, *shift1, *weight2, *scale2, *shift2;
    int64_t n, c;
    int h, w, threads;
    int64_t small() const { return static_cast<int64_t>(h) * w; }
    int64_t pixels() const { return 16 * small(); }
};

// Columns [first, last) of a product, cut as evenly as whole panels go.
struct tiling {
    int64_t columns, panels, tiles;
    explicit tiling(int64_t count) : columns(count), panels(panels_of(count)), tiles((panels + TILE_PANELS - 1) / TILE_PANELS) {}
    int64_t first(int64_t tile) const { return panels * tile / tiles * TILE_COLUMNS; }
    int64_t last(int64_t tile) const { return std::min(columns, panels * (tile + 1) / tiles * TILE_COLUMNS); }
    static int panels_of(int64_t count) { return static_cast<int>((count + TILE_COLUMNS - 1) / TILE_COLUMNS); }
};

// What a thread needs: a tile's panels, partial sums of the product, enlarged rows.
struct worker {
    enlarger4 enlarge;
    std::vector<float> line;                // of a plane, the rows that a tile touches
    std::vector<float> u;                   // a group of channels, TILE columns each
    std::unique_ptr<float[]> b, partial;    // left unwritten, so that untouched memory stays so
    worker(const head& at)
        : enlarge(at.h, at.w), line(enlarge.room() + 2 * TILE_COLUMNS), u(static_cast<size_t>(GROUP) * TILE_PANELS * TILE_COLUMNS),
          b(new float[static_cast<size_t>(at.c) * TILE_PANELS * TILE_COLUMNS]), partial(new float[gemm_partial<TILE_ROWS>(TILE_PANELS)]) {}

    // Pixels [first, last) of the enlarged plane, then zeros up to whole panels; valid until the next call.
    const float* flat(const float* plane, int w, int64_t first, int64_t last) {
        const int64_t width = 4 * w, low = first / width, high = (last + width - 1) / width;
        enlarge.rows(plane, static_cast<int>(low), static_cast<int>(high), line.data());
        float* at = line.data() + (first - low * width);
        std::fill(at + (last - first), at + static_cast<int64_t>(tiling::panels_of(last - first)) * TILE_COLUMNS, 0.0f);
        return at;
    }
};

// Packed columns [first, last) of features (n, c, small) taken as (c, n small).
void pack_small(worker& own, const head& at, int64_t first, int64_t last, float* b) {
    const int panels = tiling::panels_of(last - first);
    const size_t panel = static_cast<size_t>(at.c) * TILE_COLUMNS;
    float* line = own.u.data(); // not used yet: nothing may be allocated, and so fail, in the threads
    std::fill(line, line + static_cast<size_t>(panels) * TILE_COLUMNS, 0.0f);
    for (int64_t c = 0; c < at.c; ++c) {
        for (int64_t j = first; j < last;) {
            const int64_t image = j / at.small(), q = j % at.small(), run = std::min(last - j, at.small() - q);
            std::memcpy(line + (j - first), at.features + (image * at.c + c) * at.small() + q, run * sizeof(float));
            j += run;
        }
        for (int p = 0; p < panels; ++p) std::memcpy(b + p * panel + c * TILE_COLUMNS, line + p * TILE_COLUMNS, TILE_COLUMNS * sizeof(float));
    }
}

// Packed pixels [first, last) of r = relu(enlarged(mixed) / norm + shift1); zeros beyond.
void pack_hidden(worker& own, const head& at, const float* mixed, const float* inverse, int64_t first, int64_t last, float* b) {
    const int panels = tiling::panels_of(last - first);
    const size_t panel = static_cast<size_t>(at.c) * TILE_COLUMNS;
    alignas(64) float over[TILE_PANELS * TILE_COLUMNS] = {};
    std::memcpy(over, inverse + first, (last - first) * sizeof(float));
    const int64_t whole = (last - first) / TILE_COLUMNS;
    for (int64_t c = 0; c < at.c; ++c) {
        const float* u = own.flat(mixed + c * at.small(), at.w, first, last);
        const vf shift = splat(at.shift1[c]);
        for (int p = 0; p < panels; ++p)
            for (int half = 0; half < 2; ++half) {
                const int k = p * TILE_COLUMNS + half * LANES;
                const vf r = most(vf{}, fused(load<vf>(u + k), load<vf>(over + k), shift)); // NaN stays NaN
                float* to = b + p * panel + c * TILE_COLUMNS + half * LANES;
                store(to, r);
                if (p >= whole)
                    for (int i = 0; i < LANES; ++i)
                        if (first + k + i >= last) to[i] = 0;
            }
    }
}

int row_panels(int64_t count) { return static_cast<int>((count + TILE_ROWS - 1) / TILE_ROWS); }

// pack_rows of rows [first, last), its blocks of the depth side by side.
void pack_weights(const float* weight, const head& at, int64_t first, int64_t last, float* to) {
    const int depth = static_cast<int>(at.c), count = static_cast<int>(last - first);
    const size_t height = static_cast<size_t>(row_panels(count)) * TILE_ROWS;
#pragma omp parallel for num_threads(at.threads) if (at.threads > 1)
    for (int start = 0; start < depth; start += DEPTH_BLOCK)
        pack_rows<TILE_ROWS>(weight + first * at.c + start, at.c, count, std::min(DEPTH_BLOCK, depth - start), to + start * height);
}

// mixed (n, c, h, w) = scale1 W1 f
void mix(std::vector<std::unique_ptr<worker>>& own, const head& at, float* packed, float* mixed) {
    const tiling cut(at.n * at.small());
    for (int64_t first = 0; first < at.c; first += CHUNK) {
        const int64_t last = std::min<int64_t>(at.c, first + CHUNK);
        pack_weights(at.weight1, at, first, last, packed);
#pragma omp parallel for num_threads(at.threads) if (at.threads > 1)
        for (int64_t tile_number = 0; tile_number < cut.tiles; ++tile_number) {
            worker& mine = *own[thread_number()];
            const int64_t begin = cut.first(tile_number), end = cut.last(tile_number);
            pack_small(mine, at, begin, end, mine.b.get());
            const auto done = [&](int i, int j, const tile<TILE_ROWS>& sums) {
                for (int k = 0; k < TILE_ROWS && first + i * TILE_ROWS + k < last; ++k) {
                    const int64_t row = first + i * TILE_ROWS + k;
                    float line[TILE_COLUMNS];
                    for (int half = 0; half < 2; ++half) store(line + half * LANES, sums.at[k][half] * at.scale1[row]);
                    for (int64_t x = 0; x < TILE_COLUMNS && begin + j * TILE_COLUMNS + x < end; ++x) {
                        const int64_t column = begin + j * TILE_COLUMNS + x;
                        mixed[(column / at.small() * at.c + row) * at.small() + column % at.small()] = line[x];
                    }
                }
            };
            gemm_block<fp32_product, TILE_ROWS>(packed, row_panels(last - first), mine.b.get(), tiling::panels_of(end - begin),
                                                static_cast<int>(at.c), mine.partial.get(), done);
        }
    }
}

// One tile of one image, output channels [first, last): adds to share (c,) and map (pixels,), each null where it is not wanted.
void attend(worker& own, const head& at, const float* features, const float* packed, int64_t first, int64_t last, int64_t begin, int64_t end,
            float* share, float* map) {
    const int panels = tiling::panels_of(end - begin);
    const int64_t width = static_cast<int64_t>(panels) * TILE_COLUMNS;
    int64_t ready = -1; // the group whose enlarged features are at hand
    const auto done = [&](int i, int j, const tile<TILE_ROWS>& sums) {
        if (share && i / ROW_GROUP != ready) {
            ready = i / ROW_GROUP;
            for (int64_t k = 0; k < GROUP && first + ready * GROUP + k < last; ++k) {
                const float* u = own.flat(features + (first + ready * GROUP + k) * at.small(), at.w, begin, end);
                std::memcpy(own.u.data() + k * width, u, width * sizeof(float));
            }
        }
        vf total[2] = {};
        for (int k = 0; k < TILE_ROWS && first + i * TILE_ROWS + k < last; ++k) {
            const int64_t row = first + i * TILE_ROWS + k;
            const float* u = own.u.data() + (i % ROW_GROUP * TILE_ROWS + k) * width + j * TILE_COLUMNS;
            vf pooled = {};
            for (int half = 0; half < 2; ++half) {
                const vf s = sigmoid(fused(sums.at[k][half], splat(at.scale2[row]), splat(at.shift2[row])));
                total[half] += s;
                if (share) pooled = fused(s, load<vf>(u + half * LANES), pooled);
            }
            if (share) share[row] += sum(pooled);
        }
        if (!map) return;
        float line[TILE_COLUMNS];
        for (int half = 0; half < 2; ++half) store(line + half * LANES, total[half]);
        for (int64_t x = 0; x < TILE_COLUMNS && begin + j * TILE_COLUMNS + x < end; ++x) map[begin + j * TILE_COLUMNS + x] += line[x];
    };
    gemm_block<fp32_product, TILE_ROWS>(packed, row_panels(last - first), own.b.get(), panels, static_cast<int>(at.c), own.partial.get(), done);
}

void run(const head& at, float* pooled, float* attention) {
    std::vector<std::unique_ptr<worker>> own;
    for (int i = 0; i < at.threads; ++i) own.emplace_back(new worker(at));
    const std::unique_ptr<float[]> packed(new float[static_cast<size_t>(std::min<int64_t>(CHUNK, row_panels(at.c) * TILE_ROWS)) * at.c]);
    const std::unique_ptr<float[]> mixed(new float[at.n * at.c * at.small()]), inverse(new float[at.n * at.pixels()]);
    const tiling cut(at.pixels());
    std::vector<float> shares(pooled ? at.n * cut.tiles * at.c : 0, 0.0f);
    pixel_norms(at.features, at.n, at.c, at.h, at.w, inverse.get(), at.threads);
    for (int64_t i = 0; i < at.n * at.pixels(); ++i) inverse[i] = 1.0f / inverse[i];
    mix(own, at, packed.get(), mixed.get());
    if (attention) std::fill(attention, attention + at.n * at.pixels(), 0.0f);
    for (int64_t first = 0; first < at.c; first += CHUNK) {
        const int64_t last = std::min<int64_t>(at.c, first + CHUNK);
        pack_weights(at.weight2, at, first, last, packed.get());
#pragma omp parallel for collapse(2) num_threads(at.threads) if (at.threads > 1)
        for (int64_t image = 0; image < at.n; ++image)
            for (int64_t number = 0; number < cut.tiles; ++number) {
                worker& mine = *own[thread_number()];
                const int64_t begin = cut.first(number), end = cut.last(number);
                pack_hidden(mine, at, mixed.get() + image * at.c * at.small(), inverse.get() + image * at.pixels(), begin, end, mine.b.get());
                attend(mine, at, at.features + image * at.c * at.small(), packed.get(), first, last, begin, end,
                       pooled ? shares.data() + (image * cut.tiles + number) * at.c : nullptr, attention ? attention + image * at.pixels() : nullptr);
            }
    }
    for (int64_t i = 0; attention && i < at.n * at.pixels(); ++i) attention[i] /= static_cast<float>(at.c);
    for (int64_t i = 0; pooled && i < at.n * at.c; ++i) {
        float total = 0;
        for (int64_t number = 0; number < cut.tiles; ++number) total += shares[(i / at.c * cut.tiles + number) * at.c + i % at.c];
        pooled[i] = total / static_cast<float>(at.pixels());
    }
}

} // namespace
} // namespace luss

/* features (n, c, h, w); weights (c, c); scales and shifts (c,); pooled (n, c); attention (n, 4h, 4w). numbers: n, c, h, w, threads, and whether
   pooled and attention are wanted: what is not is not touched. 1 for want of memory. */
extern "C" int luss_attention_head_cpu(const float* features, const float* weight1, const float* scale1, const float* shift1, const float* weight2,
                                       const float* scale2, const float* shift2, float* pooled, float* attention, const double* numbers) {
    const int h = static_cast<int>(numbers[2]), w = static_cast<int>(numbers[3]), threads = static_cast<int>(numbers[4]);
    const luss::head at = {features, weight1, scale1, shift1, weight2, scale2, shift2, static_cast<int64_t>(numbers[0]),
                           static_cast<int64_t>(numbers[1]), h, w, threads};
    try {
        luss::run(at, numbers[5] != 0 ? pooled : nullptr, numbers[6] != 0 ? attention : nullptr);
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}
