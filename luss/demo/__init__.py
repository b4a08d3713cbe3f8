"""The embedded demo data set: a generator of small labelled photographs in ImageNet-S layout."""

from luss.demo.generator import generate, is_complete

__all__ = ["generate", "is_complete"]
