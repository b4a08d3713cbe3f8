"""Images in: listing, manifest, packing, decoding, plans of crops, and the loader. Never Jittor: loading processes import this."""

from .crop_plan import CropGroup, plan_crops
from .crops import correspondence_grids, resize_shorter
from .datasets import AnnotatedDataset, MultiCropDataset, PseudoLabelDataset, Subset, WholeImageDataset, crop_major
from .decode import BadImages, UnreadableImage, decode_image, decode_rgb
from .eval_plan import center_cuts, whole_cuts
from .folder import ImageFolder, ImageItem, list_images, mask_path
from .loader import Loader
from .manifest import Manifest, load_manifest
from .manifest_build import build_manifest, open_manifest
from .manifest_check import ManifestCheck, check_manifest
from .pack import pack_images
from .pack_format import PackSettings
from .packed import PackedImages
from .ragged import Ragged

__all__ = [
    "AnnotatedDataset",
    "BadImages",
    "CropGroup",
    "ImageFolder",
    "ImageItem",
    "Loader",
    "Manifest",
    "ManifestCheck",
    "MultiCropDataset",
    "PackSettings",
    "PackedImages",
    "PseudoLabelDataset",
    "Ragged",
    "Subset",
    "UnreadableImage",
    "WholeImageDataset",
    "build_manifest",
    "center_cuts",
    "check_manifest",
    "correspondence_grids",
    "crop_major",
    "decode_image",
    "decode_rgb",
    "list_images",
    "load_manifest",
    "mask_path",
    "open_manifest",
    "pack_images",
    "plan_crops",
    "resize_shorter",
    "whole_cuts",
]
