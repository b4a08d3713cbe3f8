"""The LUSS benchmark: label-map files, matching of generated ids to classes, metrics, threshold curve. NumPy, SciPy, Pillow; never Jittor."""

from luss.benchmark.curve import DEFAULT_THRESHOLDS, apply_threshold
from luss.benchmark.evaluate import curve_folder, evaluate_folder, evaluate_pairs
from luss.benchmark.label_map import IGNORE, read_label_map, write_label_map
from luss.benchmark.matching import apply_match, match_from_json, match_table, match_to_json

__all__ = [
    "DEFAULT_THRESHOLDS",
    "IGNORE",
    "apply_match",
    "apply_threshold",
    "curve_folder",
    "evaluate_folder",
    "evaluate_pairs",
    "match_from_json",
    "match_table",
    "match_to_json",
    "read_label_map",
    "write_label_map",
]
