"""The LUSS benchmark: label-map files, matching of generated ids to classes, metrics, threshold curve. NumPy, SciPy, Pillow; never Jittor."""

from luss.benchmark.curve import DEFAULT_THRESHOLDS, apply_threshold
from luss.benchmark.evaluate import count_folder, curve_folder, evaluate_counts, evaluate_folder, evaluate_pairs
from luss.benchmark.label_map import IGNORE, read_label_map, write_label_map
from luss.benchmark.matching import apply_match, match_from_json, match_table, match_to_json, read_match
from luss.benchmark.store import load_counts, merge_counts, save_counts

__all__ = [
    "DEFAULT_THRESHOLDS",
    "IGNORE",
    "apply_match",
    "apply_threshold",
    "count_folder",
    "curve_folder",
    "evaluate_counts",
    "evaluate_folder",
    "evaluate_pairs",
    "load_counts",
    "match_from_json",
    "match_table",
    "match_to_json",
    "merge_counts",
    "read_label_map",
    "read_match",
    "save_counts",
    "write_label_map",
]
