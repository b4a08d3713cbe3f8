"""Images in: listing, decoding, plans of crops, and the loader. Never Jittor: loading processes import this."""

from .crop_plan import CropGroup, center_crops, plan_crops
from .crops import correspondence_grids, resize_shorter
from .datasets import AnnotatedDataset, CenterCropDataset, MultiCropDataset, PseudoLabelDataset, WholeImageDataset, crop_major
from .decode import BadImages, UnreadableImage, decode_image, decode_rgb
from .folder import ImageFolder, ImageItem, fingerprint, list_images, mask_path
from .loader import Loader
from .manifest import Manifest
from .normalize import MEAN, STD, STD_PUBLISHED, normalize
from .packed import PackedImages
from .ragged import Ragged

__all__ = [
    "MEAN",
    "STD",
    "STD_PUBLISHED",
    "AnnotatedDataset",
    "BadImages",
    "CenterCropDataset",
    "CropGroup",
    "ImageFolder",
    "ImageItem",
    "Loader",
    "Manifest",
    "MultiCropDataset",
    "PackedImages",
    "PseudoLabelDataset",
    "Ragged",
    "UnreadableImage",
    "WholeImageDataset",
    "center_crops",
    "correspondence_grids",
    "crop_major",
    "decode_image",
    "decode_rgb",
    "fingerprint",
    "list_images",
    "mask_path",
    "normalize",
    "plan_crops",
    "resize_shorter",
]
