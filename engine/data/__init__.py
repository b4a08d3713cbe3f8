"""Images in: listing, decoding, crops, augmentation, normalisation and the loader. NumPy and Pillow only, never Jittor."""

from .crops import correspondence_grids, crop_rng, random_resized_crop
from .datasets import AnnotatedDataset, CenterCropDataset, MultiCropDataset, PseudoLabelDataset, WholeImageDataset
from .decode import BadImages, UnreadableImage, decode_image, decode_rgb
from .folder import ImageFolder, ImageItem, fingerprint, list_images, mask_path
from .loader import Loader
from .normalize import MEAN, STD, STD_PUBLISHED, normalize

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
    "MultiCropDataset",
    "PseudoLabelDataset",
    "UnreadableImage",
    "WholeImageDataset",
    "correspondence_grids",
    "crop_rng",
    "decode_image",
    "decode_rgb",
    "fingerprint",
    "list_images",
    "mask_path",
    "normalize",
    "random_resized_crop",
]
