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
   bleed: 1 lets the filter reach over the box's edge. largest_blur: of all crops, 0..8. scale, shift: (3,) float, host.
   Limit: n * ceil(height / 8) * ceil(width / 32) < 2^31. */
LUSS_API int luss_augment_crops(const uint8_t* pixels, const luss_image_record* images, const luss_crop_record* crops, int n, int height, int width,
                                int bleed, float largest_blur, const float* scale, const float* shift, int out_type, void* out, void* scratch,
                                size_t scratch_bytes, void* stream);
LUSS_API size_t luss_augment_crops_scratch(int n, int height, int width);

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

#ifdef __cplusplus
}
#endif
#endif
