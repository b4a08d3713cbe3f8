"""Images in: listing, manifest, packing, decoding, crops, augmentation, normalisation and the loader. Never Jittor."""

from .crops import correspondence_grids, crop_rng, random_resized_crop
from .datasets import AnnotatedDataset, CenterCropDataset, MultiCropDataset, PseudoLabelDataset, WholeImageDataset
from .decode import BadImages, UnreadableImage, decode_image, decode_rgb
from .folder import ImageFolder, ImageItem, fingerprint, list_images, mask_path
from .loader import Loader
from .manifest import Manifest, load_manifest
from .manifest_build import build_manifest, open_manifest
from .manifest_check import ManifestCheck, check_manifest
from .normalize import MEAN, STD, STD_PUBLISHED, normalize
from .pack import pack_images
from .pack_format import PackSettings
from .packed import PackedImages

__all__ = [
    "MEAN",
    "STD",
    "STD_PUBLISHED",
    "AnnotatedDataset",
    "BadImages",
    "CenterCropDataset",
    "ImageFolder",
    "ImageItem",
    "Loader",
    "Manifest",
    "ManifestCheck",
    "MultiCropDataset",
    "PackSettings",
    "PackedImages",
    "PseudoLabelDataset",
    "UnreadableImage",
    "WholeImageDataset",
    "build_manifest",
    "check_manifest",
    "correspondence_grids",
    "crop_rng",
    "decode_image",
    "decode_rgb",
    "fingerprint",
    "list_images",
    "load_manifest",
    "mask_path",
    "normalize",
    "open_manifest",
    "pack_images",
    "random_resized_crop",
]
