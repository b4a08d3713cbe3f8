"""Vectors of images on disk: shards that many processes write, with checksums, and that readers map or stream."""

from .absent import close_absent
from .cache import FeatureCache
from .check import Damage, check_cache, drop_damaged
from .shard import DamagedShard
from .writer import FeatureWriter

__all__ = ["Damage", "DamagedShard", "FeatureCache", "FeatureWriter", "check_cache", "close_absent", "drop_damaged"]
