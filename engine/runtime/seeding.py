"""One seed for everything that draws: equal on all processes, so that they start from the same weights."""

from __future__ import annotations

import random

import numpy as np


def seed_everything(seed: int) -> None:
    from . import jt

    random.seed(seed)
    np.random.seed(seed % 2**32)
    jt.set_global_seed(seed, different_seed_for_mpi=False)
