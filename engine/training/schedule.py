"""Learning rate by iteration: linear warm-up, then cosine (spec/pass.md 3.7)."""

from __future__ import annotations

import numpy as np


def cosine_schedule(base: float, final: float, epochs: int, steps_per_epoch: int, warmup_epochs: int = 0, start_warmup: float = 0.0) -> np.ndarray:
    """(epochs * steps_per_epoch,) float64 rates.

    The warm-up ends exactly at `base`, and the cosine starts there again; its last value lies just above `final`.
    """
    warmup = np.linspace(start_warmup, base, steps_per_epoch * warmup_epochs)
    count = steps_per_epoch * (epochs - warmup_epochs)
    t = np.arange(count)
    cosine = final + 0.5 * (base - final) * (1 + np.cos(np.pi * t / max(count, 1)))
    return np.concatenate([warmup, cosine])


def half_cosine_schedule(base: float, final: float, epochs: int, steps_per_epoch: int, warmup_epochs: int) -> np.ndarray:
    """(epochs * steps_per_epoch,) float64 rates: linear from 0 during the warm-up, then half a cosine from `base` to `final`.

    As in the fine-tuning recipe of MAE (He et al. 2022): step i of the warm-up has rate base i / (its steps), and the cosine begins at `base`.
    """
    epoch = np.arange(epochs * steps_per_epoch) / max(steps_per_epoch, 1)
    share = np.clip((epoch - warmup_epochs) / max(epochs - warmup_epochs, 1), 0, 1)
    cosine = final + 0.5 * (base - final) * (1 + np.cos(np.pi * share))
    return np.where(epoch < warmup_epochs, base * epoch / max(warmup_epochs, 1), cosine)
