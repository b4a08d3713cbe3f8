/* The records of luss_kernels.h as the kernels' own: the same bytes. */
#pragma once
#include "capi/checks.h"
#include "luss/crop_table.h"
#include "luss/cut_table.h"

namespace luss {
namespace capi {

static_assert(sizeof(luss_image_record) == sizeof(luss_image) && offsetof(luss_image_record, width) == offsetof(luss_image, width), "luss_image_record");
static_assert(sizeof(luss_crop_record) == sizeof(luss_crop) && offsetof(luss_crop_record, hue) == offsetof(luss_crop, hue), "luss_crop_record");
static_assert(sizeof(luss_cut_record) == sizeof(luss_cut) && offsetof(luss_cut_record, left) == offsetof(luss_cut, left), "luss_cut_record");

inline const luss_image* images(const luss_image_record* records) { return reinterpret_cast<const luss_image*>(records); }
inline const luss_crop* crops(const luss_crop_record* records) { return reinterpret_cast<const luss_crop*>(records); }
inline const luss_cut* cuts(const luss_cut_record* records) { return reinterpret_cast<const luss_cut*>(records); }

} // namespace capi
} // namespace luss
