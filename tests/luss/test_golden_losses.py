"""Extreme Sinkhorn inputs and the losses of whole batches, against golden set A (03)."""

import numpy as np
import pytest

pytestmark = pytest.mark.golden
EXTREMES = ["big_ok", "sum_overflow", "one_inf", "sample_underflow", "prototype_underflow", "partial_underflow", "tiny"]


@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_sinkhorn(golden_pass, case):
    from engine.runtime import jt
    from luss.losses import sinkhorn

    golden = golden_pass[1].Golden("03_losses")
    assert golden.check(f"sinkhorn_extreme/{case}/Q", sinkhorn(jt.array(golden[f"sinkhorn_extreme/{case}/scores"])).numpy())


@pytest.mark.parametrize("case, crops, batch, stages", [("2", 2, 4, 1), ("2b", 2, 4, 2), ("2+6", 8, 3, 1), ("2+6b", 8, 3, 2), ("order23", 2, 4, 2)])
@pytest.mark.parametrize("variant", [0, 1])
def test_batch_losses(golden_pass, case, crops, batch, stages, variant):
    from engine.runtime import jt
    from luss.losses import assign_codes, deep_to_shallow, swapped_prediction

    golden = golden_pass[1].Golden("03_losses")
    start = f"loss/{case}/{variant}/"
    temperature, epsilon = (float(v) for v in golden[start + "cfg"])
    scores = jt.array(golden[f"loss/{case}/output"])
    codes = assign_codes(scores, scores, batch, None, None, epsilon, 3)
    d2s = [float(v.item()) for v in deep_to_shallow(codes, scores, batch, crops, stages, temperature)]
    if case == "order23":
        d2s.reverse()  # the published code takes the rows of the other stage for this order; ours goes by position (losses.deep_to_shallow)
    assert golden.check(start + "labels", np.stack([c.numpy() for c in codes]))
    assert golden.check(start + "swav", swapped_prediction(codes, scores, batch, crops, temperature).numpy())
    assert golden.check(start + "d2s", np.array(d2s))
