/* libluss_kernels: the CUDA kernels of luss-engine for programs without Jittor. Plain C99 and C++; needs no CUDA header.

   Conventions, which hold where a function says nothing else:
   - Arrays are row-major without gaps and lie on one GPU; `(n, d) float` is their shape and type. A pointer whose array is empty may be NULL.
     Arrays marked "host" are read before the function returns.
   - `const void*` arrays with a type beside them hold float (LUSS_FLOAT32) or IEEE half (LUSS_FLOAT16).
   - Sizes, types, pointers and alignment are checked here; what lies in device arrays (indices, labels, records) is the caller's to get right.
   - `stream` is a cudaStream_t of that GPU (NULL: the default stream). Functions queue their work there and return; nothing waits.
   - `scratch` is device memory of the caller, 16-byte aligned, at least as many bytes as luss_<op>_scratch says for the same sizes; it may be
     reused once the queued work is done. The library allocates none.
   - The result is LUSS_OK, or a negative code; then luss_last_error() says which argument, what was expected and what was found. On a bad
     argument nothing was queued. Any thread may call anything; the thread's current device is the same afterwards. */
#ifndef LUSS_KERNELS_H
#define LUSS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define LUSS_KERNELS_VERSION "0.1.0"

#define LUSS_OK 0
#define LUSS_BAD_ARGUMENT (-1)
#define LUSS_CUDA_ERROR (-2)

#define LUSS_FLOAT32 0
#define LUSS_FLOAT16 1
#define LUSS_UINT16 2
#define LUSS_INT32 3

#define LUSS_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* LUSS_KERNELS_VERSION of the library that was loaded. */
LUSS_API const char* luss_version(void);

/* What the last failed call of this thread complained about; "" before the first. Valid until the thread's next failure. */
LUSS_API const char* luss_last_error(void);

/* ---- crops ------------------------------------------------------------------------------------------------------------------------- */

/* A decoded image inside a buffer of bytes. */
typedef struct {
    int64_t offset; /* of its first byte */
    int32_t height, width;
} luss_image_record;

/* What becomes of one crop: engine/ops/crop_table.py has the meaning and the order of the steps. */
typedef struct {
    int32_t image, flip, order, grey;
    float left, top, width, height; /* box in the image */
    float brightness, contrast, saturation, hue;
    float blur; /* standard deviation in pixels of the result, 0..8 */
} luss_crop_record;

/* A cut out of a resized image: the image becomes height x width, the cut begins at (top, left). */
typedef struct {
    int32_t image, height, width, top, left;
} luss_cut_record;

/* Crops of images: cut, resized as Pillow does, flipped, jittered, grey, blurred; out = level * scale[channel] + shift[channel].
   pixels (bytes,) uint8; images (m,), each (height, width, 3); crops (n,); out (n, 3, height, width) of out_type.
   taps: at least 2 max(1, ceil(box height / height), ceil(box width / width)) + 1 over all crops; fewer would write over each other.
   largest_blur: of all crops, 0..8. scale, shift: (3,) float, host.
   Limits: n * ceil(height / 32) * ceil(width / 32) < 2^31, (taps + 2) * (height + width) < 2^31. */
LUSS_API int luss_augment_crops(const uint8_t* pixels, const luss_image_record* images, const luss_crop_record* crops, int n, int height, int width,
                                int taps, float largest_blur, const float* scale, const float* shift, int out_type, void* out, void* scratch,
                                size_t scratch_bytes, void* stream);
LUSS_API size_t luss_augment_crops_scratch(int n, int height, int width, int taps);

/* Crops of label maps: out[i, y, x] = map[numbers[i]][rows[i, y], columns[i, x]].
   maps (bytes,): uint16 maps (height, width), each from an even offset on; records (m,); numbers (n,) int32; rows (n, height) and
   columns (n, width) int32, inside their map; out (n, height, width) int32. Limit: n * height < 2^34. */
LUSS_API int luss_crop_labels(const uint8_t* maps, const luss_image_record* records, const int32_t* numbers, const int32_t* rows,
                              const int32_t* columns, int n, int height, int width, int32_t* out, void* stream);

/* Cuts of whole images resized as Pillow does, to the bit; out = level * scale[channel] + shift[channel].
   pixels, images as above; cuts (n,); axes (n, 3) and taps (t,) int32, laid out as kernels/luss/cut_table.h says;
   out (n, 3, height, width) of out_type; scale, shift: (3,) float, host. Limit: n * ceil(height / 32) * ceil(width / 32) < 2^31. */
LUSS_API int luss_resize_crops(const uint8_t* pixels, const luss_image_record* images, const luss_cut_record* cuts, const int32_t* axes,
                               const int32_t* taps, int n, int height, int width, const float* scale, const float* shift, int out_type, void* out,
                               void* stream);

/* ---- label maps ---------------------------------------------------------------------------------------------------------------------- */

/* What becomes of one image; made by luss_upsample_argmax_plan. Its (height, width) labels begin at out[first_label]. */
typedef struct {
    int64_t first_label, first_tap;
    int32_t height, width, grid_height, grid_width;
} luss_label_plan_record;

/* Host only, nothing is queued. sizes (n, 2) int32, host: height and width of each image, 1..65536. Labels are made on a grid and looked up by
   nearest at the image's size: grid_height x grid_width, or where these are 0 the image's size, or with max_res > 0 and more than max_res^2
   pixels, max_res rows and int(max_res * width / height) columns. Fills plans (n,), host; *labels: length of `out` in all; *scratch_bytes. */
LUSS_API int luss_upsample_argmax_plan(const int32_t* sizes, int n, int grid_height, int grid_width, int max_res, int with_attention,
                                       luss_label_plan_record* plans, int64_t* labels, size_t* scratch_bytes);

/* Label maps at image size from small maps of logits, whose enlargement is never stored: first_id + argmax over classes of the bilinearly
   enlarged logits (ties: smallest; NaN counts as largest), 0 where the enlarged attention < threshold.
   logits (n, classes, height, width) of logits_type; middle_height, middle_width: size between two bilinear steps, 0: one step;
   plans (n,); attention (n, attention_height, attention_width) float, or NULL with both sizes 0; out int32. */
LUSS_API int luss_upsample_argmax(const void* logits, int logits_type, int n, int classes, int height, int width, int middle_height,
                                  int middle_width, const luss_label_plan_record* plans, const float* attention, int attention_height,
                                  int attention_width, float threshold, int first_id, int32_t* out, void* scratch, size_t scratch_bytes,
                                  void* stream);

/* Label maps from the cosine of features with centroids: 1 + argmax over classes at the features' size, enlarged as luss_upsample_argmax does
   (ties: smallest), 0 where the enlarged attention < threshold.
   features (n, depth, height, width) of features_type; unit (classes, depth) float: centroids divided by their length; plans as above, made with
   a grid of 4 height x 4 width. Scratch: luss_pixel_nearest_centroid_scratch and the plan's scratch_bytes together. */
LUSS_API int luss_pixel_nearest_centroid(const void* features, int features_type, int n, int depth, int height, int width, const float* unit,
                                         int classes, const luss_label_plan_record* plans, const float* attention, int attention_height,
                                         int attention_width, float threshold, int32_t* out, void* scratch, size_t scratch_bytes, void* stream);
LUSS_API size_t luss_pixel_nearest_centroid_scratch(int n, int classes, int height, int width);

/* ---- attention ------------------------------------------------------------------------------------------------------------------------ */
/* features (n, c, h, w) float; "enlarged" is four times, bilinear; h and w from 1 to 4096. All arrays 16-byte aligned. */

/* norms (n, 4h, 4w) float: length over channels of each pixel of the enlarged features, at least 1e-12. */
LUSS_API int luss_pixel_norms(const float* features, int n, int c, int h, int w, float* norms, void* stream);

/* out (n, c) float: mean over pixels of the enlarged features (over norms, where these are not NULL) times sigmoid(logits + threshold).
   logits (n, c, 4h, 4w) float; threshold (c,) float; norms (n, 4h, 4w) float or NULL. */
LUSS_API int luss_attention_pool(const float* features, const float* logits, const float* threshold, const float* norms, int n, int c, int h, int w,
                                 float* out, void* stream);

/* Its gradients. gradient (n, c) float, of the result; d_logits, d_threshold like logits and threshold; d_features like features, or NULL. */
LUSS_API int luss_attention_pool_grad(const float* features, const float* logits, const float* threshold, const float* norms, const float* gradient,
                                      int n, int c, int h, int w, float* d_logits, float* d_threshold, float* d_features, void* scratch,
                                      size_t scratch_bytes, void* stream);
LUSS_API size_t luss_attention_pool_grad_scratch(int n, int c, int h, int w);

/* The attention head at inference: hidden = relu(scale1 (weight1 v) + shift1), a = sigmoid(scale2 (weight2 hidden) + shift2) for the unit vector v
   of each enlarged pixel. pooled (n, c) float or NULL: mean over pixels of enlarged features times a; attention (n, 4h, 4w) float or NULL: mean
   of a over channels. weight1, weight2 (c, c) float; scales and shifts (c,) float. products: LUSS_FLOAT32, or LUSS_FLOAT16: weight2 and hidden are
   rounded to half for tensor cores, with sums in float. */
LUSS_API int luss_attention_head(const float* features, const float* weight1, const float* scale1, const float* shift1, const float* weight2,
                                 const float* scale2, const float* shift2, int n, int c, int h, int w, int products, float* pooled, float* attention,
                                 void* scratch, size_t scratch_bytes, void* stream);
LUSS_API size_t luss_attention_head_scratch(int n, int c, int h, int w, int products);

/* ---- k-means -------------------------------------------------------------------------------------------------------------------------- */

/* Nearest of k centroids for every row, for r sets of centroids at once; the matrix of scores is never written.
   x (n, d) of x_type; centroids (r, k, d) float; label (r, n) int32: argmin |x - c|^2, or with cosine argmax <x, c> (ties: smallest; NaN is never
   the nearest, a row without any score gets label 0); score (r, n) float or NULL: that |x - c|^2, or <x, c> (NaN for such rows).
   mode 0: float32 products; 1: tensor cores in fp16 and whatever rounding could have decided once more in float32: the same bits.
   d 1..2048, k 1..4096, r 1..65535. Scratch: 256-byte aligned. */
LUSS_API int luss_nearest_centroid(const void* x, int x_type, const float* centroids, int64_t n, int d, int k, int r, int cosine, int mode,
                                   int32_t* label, float* score, void* scratch, size_t scratch_bytes, void* stream);
LUSS_API size_t luss_nearest_centroid_scratch(int64_t n, int d, int k, int r, int mode);

/* Sums and counts of rows per label: the update step. x (n, d) of x_type; label (n,) int32, outside 0..k - 1 a row counts for nothing;
   sums (k, d) double; counts (k,) int64. n below 2^31 - 1, k 1..4096. Scratch: 256-byte aligned. Deterministic. */
LUSS_API int luss_centroid_sums(const void* x, int x_type, const int32_t* label, int64_t n, int d, int k, double* sums, int64_t* counts,
                                void* scratch, size_t scratch_bytes, void* stream);
LUSS_API size_t luss_centroid_sums_scratch(int64_t n, int d, int k);

/* The same in fixed point and for r sets of labels: sums (r, k, d) int64 of round(x 2^bits), halves to even, counts (r, k) int64, label (r, n).
   Exact and independent of any order while no sum leaves 63 bits; beyond, and for NaN, sums of that label and column are unspecified.
   r 1..65535, bits 0..62. */
LUSS_API int luss_fixed_sums(const void* x, int x_type, const int32_t* label, int64_t n, int d, int k, int r, int bits, int64_t* sums,
                             int64_t* counts, void* scratch, size_t scratch_bytes, void* stream);
LUSS_API size_t luss_fixed_sums_scratch(int64_t n, int d, int k, int r);

/* Rows scaled to unit length, x / (|x| + 1e-8): out (n, d) float, or NULL for none, or x itself where that is float; squares (n,) double: squared
   lengths of the rows of out, or of x where out is NULL. d from 1. A row with NaN or infinity has squares that are not finite. Deterministic. */
LUSS_API int luss_unit_rows(const void* x, int x_type, int64_t n, int d, float* out, double* squares, void* stream);

/* totals (r,) double: sums of score (r, n) float. r 1..65535. Deterministic. */
LUSS_API int luss_score_sums(const float* score, int64_t n, int r, double* totals, void* scratch, size_t scratch_bytes, void* stream);
LUSS_API size_t luss_score_sums_scratch(int r);

/* ---- loss ----------------------------------------------------------------------------------------------------------------------------- */

/* Host only, nothing is queued. The tables with which (h, w) is enlarged to (height, width), over (middle_h, middle_w) where these are not 0.
   *plan_bytes: their length; plan: host memory of that length to be filled, or NULL. */
LUSS_API int luss_upsample_cross_entropy_plan(int h, int w, int middle_h, int middle_w, int height, int width, void* plan, size_t* plan_bytes);

/* Mean cross-entropy and top-1 accuracy of bilinearly enlarged logits, which are never stored, and the loss's gradient.
   logits (n, classes, h, w) of logits_type; labels (n, height, width) int32 in 0..classes - 1, or `ignore` where has_ignore is 1: those do not
   count; plan: a copy of the tables for these sizes, 4-byte aligned; loss, accuracy (1,) float; gradient (n, classes, h, w) float, or NULL.
   NaN where an image with a pixel that counts holds a NaN or infinite logit; 0 where nothing counts. */
LUSS_API int luss_upsample_cross_entropy(const void* logits, int logits_type, const int32_t* labels, int n, int classes, int h, int w, int middle_h,
                                         int middle_w, int height, int width, const void* plan, int has_ignore, int ignore, float* loss,
                                         float* accuracy, float* gradient, void* scratch, size_t scratch_bytes, void* stream);
LUSS_API size_t luss_upsample_cross_entropy_scratch(int n, int classes, int h, int w, int middle_h, int middle_w, int height, int width,
                                                    int with_gradient);

/* ---- votes ---------------------------------------------------------------------------------------------------------------------------- */

/* One image of a batch: its map is pixels [first_pixel, first_pixel + pixels) of the buffer; its masks are first_mask ... first_mask + masks - 1
   of all; packed ones begin at words[first_word], ceil(pixels / 32) each. */
typedef struct {
    int64_t first_pixel, first_word;
    int32_t pixels, first_mask, masks, unused;
} luss_vote_image_record;

/* A mask's vote: the most frequent id, -1 where nothing voted; how many of its area pixels had it; whether it was written over the mask. */
typedef struct {
    int32_t label, count, area, written;
} luss_vote_record;

/* Each mask in order gets the most frequent id under it (ties: smallest), which is written over it.
   from, map: buffers of label maps, of label_type (LUSS_UINT16 or LUSS_INT32), map may be from unless on_original; images (n,); votes
   (all masks,). Masks as runs: runs (r, 2) int32, set pixels [start, stop) of the image, mask m has the runs offsets[m] ... offsets[m + 1] - 1,
   offsets (all masks + 1,) int64; or bit-packed: words uint32, bit i of word j is pixel 32 j + i. on_original: 1, every mask votes on `from`.
   min_area pixels, min_share 0..1 of the mask: below, nothing is written. bins 1..65536: ids from there on have no vote. */
LUSS_API int luss_vote_masks_runs(const void* from, void* map, int label_type, const luss_vote_image_record* images, int n, const int32_t* runs,
                                  const int64_t* offsets, int on_original, int min_area, double min_share, int ignore_background, int bins,
                                  luss_vote_record* votes, void* scratch, size_t scratch_bytes, void* stream);
LUSS_API int luss_vote_masks_packed(const void* from, void* map, int label_type, const luss_vote_image_record* images, int n, const uint32_t* words,
                                    int on_original, int min_area, double min_share, int ignore_background, int bins, luss_vote_record* votes,
                                    void* scratch, size_t scratch_bytes, void* stream);
LUSS_API size_t luss_vote_masks_scratch(int n, int bins);

#ifdef __cplusplus
}
#endif
#endif
