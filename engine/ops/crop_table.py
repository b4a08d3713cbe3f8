"""What a crop is, as fixed-width records that NumPy, C++ and CUDA share; `kernels/luss/crop_table.h` is the same in C.

A crop plan is an array of CROP records: all random choices, made before any pixel is decoded (engine/data/crop_plan.py). The decoded
images lie one after another in one buffer of bytes, and an array of IMAGE records says where. NumPy only: loading processes use this.
"""

from __future__ import annotations

import numpy as np

# One decoded image: (height, width, 3) uint8 from byte `offset` of the pixel buffer on, rows without gaps. 16 bytes.
IMAGE = np.dtype([("offset", "<i8"), ("height", "<i4"), ("width", "<i4")])

# One crop, 52 bytes. left, top, width and height are in pixels of the decoded image; they are whole numbers where the image was decoded
# at full size, and may be fractions where it was scaled while decoding. What is done, in this order:
#   1. cut the box out and resize it, antialiased bilinear (Pillow's: the filter's support grows with the box; taps end at the pixels it touches)
#   2. flip: mirror left and right
#   3. order >= 0: colour jitter, the four steps 0 brightness, 1 contrast, 2 saturation, 3 hue in the order ORDERS[order]; -1: none
#   4. grey: replace by the ITU-R 601-2 luma in all three channels
#   5. blur > 0: Gaussian of that standard deviation in output pixels (Pillow's: three box blurs along the rows, three down the columns)
CROP = np.dtype(
    [
        ("image", "<i4"),  # row of the IMAGE array
        ("flip", "<i4"),  # 0 or 1
        ("order", "<i4"),  # 0..23, or -1: no colour jitter
        ("grey", "<i4"),  # 0 or 1
        ("left", "<f4"),
        ("top", "<f4"),
        ("width", "<f4"),
        ("height", "<f4"),
        ("brightness", "<f4"),  # factors >= 0; 1 changes nothing
        ("contrast", "<f4"),
        ("saturation", "<f4"),
        ("hue", "<f4"),  # share of the colour circle, -0.5..0.5
        ("blur", "<f4"),  # standard deviation in pixels of the result; 0: none
    ]
)

# One evaluation crop, 20 bytes: the whole image is resized to height x width as Pillow does, bilinear and antialiased, to the bit; then the
# result's pixels are cut out from (top, left) on. What size the cut has, the op is told.
CUT = np.dtype([("image", "<i4"), ("height", "<i4"), ("width", "<i4"), ("top", "<i4"), ("left", "<i4")])

# ORDERS[rank] = the permutation of (0, 1, 2, 3) of that lexicographic rank
ORDERS = np.array(
    [[a, b, c, 6 - a - b - c] for a in range(4) for b in range(4) if b != a for c in range(4) if c not in (a, b)],
    np.int32,
)
