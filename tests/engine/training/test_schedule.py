"""The fine-tuning schedule: its ends, its middle, and no warm-up."""

import numpy as np

from engine.training.schedule import half_cosine_schedule


def test_half_cosine_begins_at_zero_peaks_after_the_warm_up_and_falls():
    rates = half_cosine_schedule(0.5, 0.1, epochs=10, steps_per_epoch=4, warmup_epochs=2)
    assert rates.shape == (40,)
    np.testing.assert_allclose(rates[:9], 0.5 * np.arange(9) / 8)
    np.testing.assert_allclose(rates[24], 0.3)  # epoch 6 of 2..10: the middle of the cosine
    assert (np.diff(rates[8:]) < 0).all() and 0.1 < rates[-1] < 0.102


def test_half_cosine_without_warm_up_and_without_steps():
    assert half_cosine_schedule(0.5, 0.1, 3, 2, 0)[0] == 0.5
    assert half_cosine_schedule(0.5, 0.1, 0, 2, 5).shape == (0,)
    np.testing.assert_allclose(half_cosine_schedule(1.0, 0.0, 2, 2, 4), [0, 0.125, 0.25, 0.375])  # ends inside the warm-up
