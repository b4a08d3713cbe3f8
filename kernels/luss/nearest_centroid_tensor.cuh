/* The tensor-core mode of nearest_centroid: fp16 products, fp32 sums; a best and a second score per row stay in registers, the matrix of
   scores is never written. Rows whose two best lie closer than twice the bound of nearest_centroid_prepare.cuh are listed.

   A block of 2 x 2 warps takes 32 ROW_TILES rows and goes over all centroids, 32 PAIRS at a time; a warp has 16 ROW_TILES rows and of every
   32 columns 16, so that a last part of the centroids costs both column warps the same, in steps of 32 (919 counts as 928).
   Rows and centroids come in chunks of 32 of d through shared memory, 64 bytes a row; the 16-byte piece p of row i lies at place
   p ^ (i / 2 % 4), so that neither ldmatrix nor the stores conflict. sm_75: two stages; the next chunk comes through registers, its rows
   while the first half of this one is multiplied, its centroids with the second. sm_80 and later: three stages of cp.async.

   Counted from the SASS of sm_75, per warp and 128 x 128 tile at d = 128 (4 chunks): 512 HMMA.1688.F32 of 16 cycles each (64 products a cycle
   and quarter of an SM, the rate of GeForce) = 8192 cycles of the tensor core. Beside them 4 x 256 other instructions for chunks (64 ldmatrix
   and 64 loads and stores of 16 bytes among them, 16 % of the shared memory's time with all warps) and 880 for the epilogue, 5.0 a score,
   most of them at half rate: about 2700 issue and ALU cycles. Two unsynchronised blocks an SM put two warps on each quarter, so one's epilogue
   runs beside the other's HMMA: alone a warp would keep the tensor core busy 8192 / 10900 = 75 %, two together all but fill it. Left over: 919
   counted as 928 (1 %), the second pass over listed rows (1 to 6 %), first loads and last waves (5 %): 0.85 of the matrix rate expected
   at d = 128 and 0.88 from 512 on, where the epilogue is 5 % and less. By reasoning; not timed.
   Registers (first pass, sm_75 / 80 / 86 / 90, no spills): 128 columns 254 / 248 / 248 / 234; 64 columns 180 / 158 / 158 / 154. The fp32
   kernel 125 to 128, on sm_90 with 64 to 80 bytes of spill loads. */
#pragma once
#include <cstdint>

#include "luss/nearest_centroid_prepare.cuh"

namespace luss {

template <int ROW_TILES_, int PAIRS_> struct tensor_tile {
    static constexpr int ROW_TILES = ROW_TILES_, PAIRS = PAIRS_; // of 16 rows and 16 columns a warp
    static constexpr int ROWS = 32 * ROW_TILES, COLUMNS = 32 * PAIRS, DEPTH = 32, THREADS = 128;
    static constexpr int A_PIECES = ROWS * 4 / THREADS, B_PIECES = COLUMNS * 4 / THREADS; // of 16 bytes, per thread and chunk
    static constexpr int STAGE_BYTES = (ROWS + COLUMNS) * DEPTH * 2;
    __host__ __device__ static constexpr int stages(int sm) { return sm >= 80 ? 3 : 2; }
    static_assert(2 * 2 * STAGE_BYTES <= 64 << 10, "two blocks share the 64 kB of an SM of sm_75, so the kernel has no static shared memory");
};

/* What the two passes of the tensor mode share. All of one chunk of rows. */
struct tensor_problem {
    const __half* x;         // (n, pitch); `width` columns are there, a multiple of 8, zeros from d on
    int64_t n;
    int pitch, width;
    const __half* c;         // (r, kp, dp), zeros where there is no centroid
    const float* bias;       // (r, kp), -inf there
    int d, k, kp, dp, cosine;
    const float* x_error;    // (n,), null where x is exact
    const uint32_t* norms;   // (r, 2)
    int64_t stride;          // rows of label
    int32_t* label;          // (r, stride)
    int32_t* counts;         // (r, 2): rows listed below, which may exceed `room`; rows in `undecided`
    int64_t room;
    int32_t* listed;         // (r, room)
    float* threshold;        // (r, room): a centroid below it cannot win
    int64_t undecided_room;
    int32_t* undecided;      // (r, undecided_room): to be decided over all centroids in fp32
    int32_t* candidate_counts; // (r, room), zeroed
    int32_t* candidates;       // (r, room, CANDIDATES)
};
constexpr int CANDIDATES = 8;

__device__ __forceinline__ int piece_place(int row, int piece) { return row * 64 + ((piece ^ (row >> 1 & 3)) << 4); }

__device__ __forceinline__ void list_undecided(const tensor_problem& p, int restart, int64_t row) {
    p.undecided[restart * p.undecided_room + atomicAdd(p.counts + 2 * restart + 1, 1)] = static_cast<int32_t>(row);
}

/* The rows of a tile: row i of it is row [i] of x, -1 for none. `list` null: as they lie. */
struct tile_rows {
    const int32_t* list;
    int64_t first, n;
    __device__ __forceinline__ int operator[](int i) const {
        const int64_t at = first + i;
        return at >= n ? -1 : list ? list[at] : static_cast<int>(at);
    }
};

/* First pass: the two best scores of ROWS_ rows of a thread's, over the columns that it sees. */
template <class Tile> struct best_two {
    static constexpr int ROWS = 2 * Tile::ROW_TILES;
    static constexpr bool LISTED = false; // whether it goes over listed rows
    float best[ROWS], second[ROWS];
    int id[ROWS];
    __device__ __forceinline__ void start(const tensor_problem&, int, const tile_rows&, int) {
#pragma unroll
        for (int i = 0; i < ROWS; ++i) best[i] = second[i] = -INFINITY, id[i] = 0;
    }
    // NaN is never better, but makes the second equal to the best: the row is then listed, and so decided where NaN has no part
    __device__ __forceinline__ void see(const tensor_problem&, int i, float score, int column) {
        second[i] = fmaxf(second[i], fminf(best[i], score));
        if (score > best[i]) id[i] = column;
        best[i] = fmaxf(best[i], score);
    }
    __device__ __forceinline__ void merge(int i, float other, float other_second, int other_id) {
        second[i] = fmaxf(fmaxf(second[i], other_second), fminf(best[i], other));
        if (other > best[i]) id[i] = other_id;
        best[i] = fmaxf(best[i], other);
    }
};

/* Second pass, over listed rows: every centroid that reaches the row's threshold becomes a candidate. */
template <class Tile> struct collect {
    static constexpr int ROWS = 2 * Tile::ROW_TILES;
    static constexpr bool LISTED = true;
    float threshold[ROWS];
    int64_t slot[2]; // of the thread's first row in the list; of the restart's first
    __device__ __forceinline__ void start(const tensor_problem& p, int restart, const tile_rows& rows, int warp_row) {
        slot[0] = rows.first + warp_row, slot[1] = restart * p.room;
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            const int row = i / 2 * 16 + i % 2 * 8;
            threshold[i] = rows[warp_row + row] >= 0 ? p.threshold[slot[1] + slot[0] + row] : INFINITY;
        }
    }
    __device__ __forceinline__ void see(const tensor_problem& p, int i, float score, int column) {
        if (!(score >= threshold[i])) return;
        const int64_t at = slot[1] + slot[0] + i / 2 * 16 + i % 2 * 8;
        const int place = atomicAdd(p.candidate_counts + at, 1);
        if (place < CANDIDATES) p.candidates[at * CANDIDATES + place] = column;
    }
};

/* The chunks of a block's rows and of all centroids, in the order they are multiplied: where the next one is loaded from. */
template <class Tile> struct chunk_loader {
    const tensor_problem& p;
    const __half* c;
    const tile_rows& rows;
    int thread, column, depth;
    uint4 held[Tile::A_PIECES > Tile::B_PIECES ? Tile::A_PIECES : Tile::B_PIECES]; // sm_75: on the way from global to shared memory

    __device__ __forceinline__ bool more() const { return column < p.k; }
    __device__ __forceinline__ void advance() {
        depth += Tile::DEPTH;
        if (depth >= p.dp) depth = 0, column += Tile::COLUMNS;
    }
    __device__ __forceinline__ int row(int i) const { return (thread + i * Tile::THREADS) / 4; }
    __device__ __forceinline__ unsigned char* a_place(unsigned char* stage, int i) const { return stage + piece_place(row(i), thread % 4); }
    __device__ __forceinline__ unsigned char* b_place(unsigned char* stage, int i) const { return a_place(stage + Tile::ROWS * 64, i); }
    __device__ __forceinline__ const __half* a_source(int i) const { // null where zeros belong
        const int from = rows[row(i)], at = depth + thread % 4 * 8;
        return from >= 0 && at < p.width ? p.x + static_cast<int64_t>(from) * p.pitch + at : nullptr;
    }
    __device__ __forceinline__ const __half* b_source(int i) const {
        const int from = column + row(i);
        return from < p.kp ? c + static_cast<int64_t>(from) * p.dp + depth + thread % 4 * 8 : nullptr;
    }
    __device__ __forceinline__ void copy(unsigned char* stage) { // cp.async
#pragma unroll
        for (int i = 0; i < Tile::A_PIECES; ++i) {
            const __half* from = a_source(i);
            copy_async_16(a_place(stage, i), from ? from : p.x, from != nullptr);
        }
#pragma unroll
        for (int i = 0; i < Tile::B_PIECES; ++i) {
            const __half* from = b_source(i);
            copy_async_16(b_place(stage, i), from ? from : c, from != nullptr);
        }
    }
    __device__ __forceinline__ uint4 fetch(const __half* from) const { return from ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0); }
    __device__ __forceinline__ void load(int part) { // 0 rows, 1 centroids
#pragma unroll
        for (int i = 0; i < (part == 0 ? Tile::A_PIECES : Tile::B_PIECES); ++i) held[i] = fetch(part == 0 ? a_source(i) : b_source(i));
    }
    __device__ __forceinline__ void store(int part, unsigned char* stage) {
#pragma unroll
        for (int i = 0; i < (part == 0 ? Tile::A_PIECES : Tile::B_PIECES); ++i)
            *reinterpret_cast<uint4*>(part == 0 ? a_place(stage, i) : b_place(stage, i)) = held[i];
    }
};

/* sum += the products of one half of a chunk, 16 of d, of the first `pairs` 16-column parts of the warp. */
template <class Tile, bool ALL>
__device__ __forceinline__ void multiply_half(float (&sum)[Tile::ROW_TILES][2 * Tile::PAIRS][4], const unsigned char* stage, int part, int warp_row,
                                              int warp_column, int lane, int pairs) {
    uint32_t a[Tile::ROW_TILES][4];
#pragma unroll
    for (int m = 0; m < Tile::ROW_TILES; ++m) load_matrices(a[m], stage + piece_place(warp_row + 16 * m + lane % 16, 2 * part + lane / 16));
#pragma unroll
    for (int pair = 0; pair < Tile::PAIRS; ++pair) {
        if (!ALL && pair >= pairs) break;
        uint32_t b[4];
        const int row = 32 * pair + warp_column + lane / 16 * 8 + lane % 8;
        load_matrices(b, stage + Tile::ROWS * 64 + piece_place(row, 2 * part + lane / 8 % 2));
#if LUSS_SM < 80 // 8 k's of all tiles before the next 8: neighbours in this order do not wait for each other's sums
#pragma unroll
        for (int step = 0; step < 2; ++step)
#pragma unroll
            for (int m = 0; m < Tile::ROW_TILES; ++m) {
                mma_m16n8k8(sum[m][2 * pair], a[m][2 * step], a[m][2 * step + 1], b[step]);
                mma_m16n8k8(sum[m][2 * pair + 1], a[m][2 * step], a[m][2 * step + 1], b[2 + step]);
            }
#else
#pragma unroll
        for (int m = 0; m < Tile::ROW_TILES; ++m) {
            mma_m16n8k16(sum[m][2 * pair], a[m], b[0], b[1]);
            mma_m16n8k16(sum[m][2 * pair + 1], a[m], b[2], b[3]);
        }
#endif
    }
}

/* |x_h|^2 of row `row` of the tile, this chunk's part. */
__device__ __forceinline__ float chunk_square(const unsigned char* stage, int row) {
    float square = 0;
#pragma unroll
    for (int piece = 0; piece < 4; ++piece) {
        const __half2* values = reinterpret_cast<const __half2*>(stage + piece_place(row, piece));
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float2 two = __half22float2(values[i]);
            square = fmaf(two.y, two.y, fmaf(two.x, two.x, square));
        }
    }
    return square;
}

/* The label of a row, and whether it is listed to be decided again. */
__device__ __forceinline__ void decide_or_list(const tensor_problem& p, int restart, int64_t row, float best, float second, int id, float square) {
    const float bound = score_error_bound(square, p.x_error ? p.x_error[row] : 0.0f, __uint_as_float(p.norms[2 * restart]),
                                          __uint_as_float(p.norms[2 * restart + 1]), p.d, p.cosine);
    p.label[restart * p.stride + row] = id;
    if (best - second > 2.0f * bound) return;
    const float threshold = best - 2.002f * bound;
    const int64_t slot = threshold > -INFINITY && threshold < INFINITY ? atomicAdd(p.counts + 2 * restart, 1) : p.room;
    if (slot >= p.room) {
        list_undecided(p, restart, row);
    } else {
        p.listed[restart * p.room + slot] = static_cast<int32_t>(row);
        p.threshold[restart * p.room + slot] = threshold;
    }
}

/* The end of a block of rows: the four lanes and two warps that share a row put together what they found. */
template <class Tile>
__device__ __forceinline__ void finish_rows(const tensor_problem& p, best_two<Tile>& pass, int restart, const tile_rows& rows, unsigned char* shared,
                                            int first_row, int column_warp, float square) {
    float* best = reinterpret_cast<float*>(shared); // (2, ROWS) each
    float* second = best + 2 * Tile::ROWS;
    int* id = reinterpret_cast<int*>(second + 2 * Tile::ROWS);
#pragma unroll
    for (int i = 0; i < best_two<Tile>::ROWS; ++i) {
#pragma unroll
        for (int step = 1; step < 4; step *= 2) {
            const float other = __shfl_xor_sync(0xffffffffu, pass.best[i], step), other_second = __shfl_xor_sync(0xffffffffu, pass.second[i], step);
            pass.merge(i, other, other_second, __shfl_xor_sync(0xffffffffu, pass.id[i], step));
        }
        const int at = column_warp * Tile::ROWS + first_row + i / 2 * 16 + i % 2 * 8;
        if (threadIdx.x % 4 == 0) best[at] = pass.best[i], second[at] = pass.second[i], id[at] = pass.id[i];
    }
    __syncthreads();
    const int row = threadIdx.x;
    if (row >= Tile::ROWS || rows[row] < 0) return;
    const bool later = best[Tile::ROWS + row] > best[row];
    const float low = later ? best[row] : best[Tile::ROWS + row], high = later ? best[Tile::ROWS + row] : best[row];
    decide_or_list(p, restart, rows[row], high, fmaxf(low, fmaxf(second[row], second[Tile::ROWS + row])), id[later ? Tile::ROWS + row : row], square);
}
template <class Tile>
__device__ __forceinline__ void finish_rows(const tensor_problem&, collect<Tile>&, int, const tile_rows&, unsigned char*, int, int, float) {}

/* Pass is best_two or collect; blocks (tiles, r); dynamic shared memory Tile::stages(LUSS_SM) * Tile::STAGE_BYTES. */
template <class Tile, template <class> class Pass>
__global__ void __launch_bounds__(Tile::THREADS, 2) nearest_tensor_kernel(const tensor_problem p) {
    constexpr int STAGES = Tile::stages(LUSS_SM);
    LUSS_SHARED_BYTES(stages);
    constexpr bool LISTED = Pass<Tile>::LISTED;
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, restart = blockIdx.y;
    const int warp_row = warp / 2 * 16 * Tile::ROW_TILES, warp_column = warp % 2 * 16;
    const int32_t* list = LISTED ? p.listed + restart * p.room : nullptr;
    const int64_t n = !LISTED ? p.n : p.counts[2 * restart] < p.room ? p.counts[2 * restart] : p.room;
    const float* bias = p.bias + static_cast<int64_t>(restart) * p.kp;

    for (int64_t first = static_cast<int64_t>(blockIdx.x) * Tile::ROWS; first < n; first += static_cast<int64_t>(gridDim.x) * Tile::ROWS) {
        const tile_rows rows = {list, first, n};
        Pass<Tile> pass;
        pass.start(p, restart, rows, warp_row + lane / 4);
        chunk_loader<Tile> loader = {p, p.c + static_cast<int64_t>(restart) * p.kp * p.dp, rows, thread, 0, 0, {}};
#if LUSS_SM >= 80
        for (int stage = 0; stage < STAGES - 1; ++stage) {
            if (loader.more()) loader.copy(stages + stage * Tile::STAGE_BYTES), loader.advance();
            copy_async_commit();
        }
        int fill = STAGES - 1;
#else
        for (int part = 0; part < 2; ++part) loader.load(part), loader.store(part, stages);
        loader.advance();
        __syncthreads();
#endif
        float square = 0;
        int current = 0;
        for (int column = 0; column < p.k; column += Tile::COLUMNS) {
            const int pairs = (p.k - column + 31) / 32;
            float sum[Tile::ROW_TILES][2 * Tile::PAIRS][4] = {};
            for (int depth = 0; depth < p.dp; depth += Tile::DEPTH) {
                const unsigned char* stage = stages + current * Tile::STAGE_BYTES;
#if LUSS_SM >= 80
                copy_async_wait<STAGES - 2>();
                __syncthreads(); // all have this chunk, and none reads the one before it any more
                if (loader.more()) loader.copy(stages + fill * Tile::STAGE_BYTES), loader.advance();
                copy_async_commit();
                fill = fill + 1 == STAGES ? 0 : fill + 1;
#else
                const bool more = loader.more();
                unsigned char* const next = stages + (current ^ 1) * Tile::STAGE_BYTES; // read by none since the last barrier
#endif
#pragma unroll
                for (int part = 0; part < 2; ++part) {
#if LUSS_SM < 80
                    if (more) loader.load(part);
#endif
                    if (pairs >= Tile::PAIRS) multiply_half<Tile, true>(sum, stage, part, warp_row, warp_column, lane, pairs);
                    else multiply_half<Tile, false>(sum, stage, part, warp_row, warp_column, lane, pairs);
#if LUSS_SM < 80
                    if (more) loader.store(part, next);
#endif
                }
                if (!LISTED && column == 0 && thread < Tile::ROWS) square += chunk_square(stage, thread);
                current = current + 1 == STAGES ? 0 : current + 1;
#if LUSS_SM < 80
                loader.advance();
                __syncthreads();
#endif
            }
#pragma unroll
            for (int part = 0; part < 2 * Tile::PAIRS; ++part) {
                if (part / 2 >= pairs) break;
                const int at = column + part / 2 * 32 + warp_column + part % 2 * 8 + lane % 4 * 2;
                const float2 shift = *reinterpret_cast<const float2*>(bias + at);
#pragma unroll
                for (int i = 0; i < 2 * Tile::ROW_TILES; ++i) {
                    pass.see(p, i, sum[i / 2][part][i % 2 * 2] + shift.x, at);
                    pass.see(p, i, sum[i / 2][part][i % 2 * 2 + 1] + shift.y, at + 1);
                }
            }
        }
        __syncthreads(); // the stages are used again, for what was found
        finish_rows<Tile>(p, pass, restart, rows, stages, warp_row + lane / 4, warp % 2, square);
        __syncthreads();
    }
}

} // namespace luss
