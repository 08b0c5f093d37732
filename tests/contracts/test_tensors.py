"""Arrays and lists in place of tensors: each function says what it takes, and how to make it of them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import config

from trueline import calibrate, conformal, measure, regression
from trueline.contracts import check_samples, check_tensors

LOGITS = torch.linspace(-2, 2, 60).reshape(20, 3).sin()
LABELS = torch.arange(20) % 3
ARRAY, NUMBERS = LOGITS.numpy(), LABELS.numpy()
Y = LOGITS[:, 0]
NORMAL = regression.Gaussian(torch.zeros(20), torch.ones(20))


@pytest.fixture(autouse=True)
def _as_users_see_it() -> Iterator[None]:
    """Without the suite's annotation checks, so that the library's own message is met."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def test_whatever_is_no_tensor_is_named_with_the_way_to_make_one_of_it() -> None:
    check_tensors(logits=LOGITS, weight=None)
    message = r"^labels must be a torch\.Tensor, got numpy\.ndarray; pass torch\.as_tensor\(labels\)$"
    with pytest.raises(TypeError, match=message):
        check_tensors(logits=LOGITS, labels=NUMBERS)
    with pytest.raises(TypeError, match=r"^labels must be a torch\.Tensor, got list; pass"):
        check_tensors(labels=[0, 1])


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("logits", lambda: calibrate.TemperatureScaling().fit(LABELS, logits=ARRAY)),
        ("logits", lambda: calibrate.TemperatureScaling().fit(LABELS.tolist(), logits=LOGITS.tolist())),
        ("labels", lambda: calibrate.TemperatureScaling().fit(NUMBERS, logits=LOGITS)),
        ("weight", lambda: calibrate.TemperatureScaling().fit(LABELS, logits=LOGITS, weight=np.ones(20))),
        ("logits", lambda: calibrate.OnlinePlatt().update(LABELS, logits=ARRAY[:, 0])),
        ("inputs", lambda: calibrate.LevelSetBoosting(calibrate.Stump()).fit(ARRAY, Y.abs())),
        ("start", lambda: calibrate.LevelSetBoosting(calibrate.Stump()).fit(LOGITS, Y.abs(), start=np.ones(20))),
        ("targets", lambda: calibrate.multicalibration_error(ARRAY[:, 0], Y, LOGITS)),
        ("outcome", lambda: calibrate.cross_fit_nuisances(LOGITS, ARRAY, LABELS, outcome_model=0, propensity_model=0)),
        ("labels", lambda: measure.calibration_by_class(NUMBERS, logits=LOGITS)),
        ("groups", lambda: measure.calibration_by_group(LABELS, NUMBERS, logits=LOGITS)),
        ("labels", lambda: measure.kernel_calibration_error(NUMBERS, logits=LOGITS, event="canonical")),
        ("seen", lambda: measure.ausuc(LABELS, logits=LOGITS, seen=np.ones(3) > 0)),
        ("targets", lambda: measure.soft_log_loss(ARRAY, logits=LOGITS)),
        ("labels", lambda: conformal.LAC(0.1).fit(NUMBERS, logits=LOGITS)),
        ("index", lambda: conformal.APS(0.1).fit(LABELS, logits=LOGITS, index=NUMBERS)),
        ("groups", lambda: conformal.GroupConditional(conformal.LAC(0.1)).fit(LABELS, logits=LOGITS, groups=NUMBERS)),
        ("noise", lambda: conformal.NoiseAware(conformal.LAC(0.1), noise=np.eye(3))),
        ("noise", lambda: conformal.NoiseAware(conformal.LAC(0.1), noise=[[1.0, 0.0], [0.0, 1.0]])),
        ("sets", lambda: conformal.evaluate_sets(LABELS, ARRAY > 0, 0.1)),
        ("wanted", lambda: conformal.conformal_selection(ARRAY[:, 0] > 0, Y, Y)),
        ("candidates", lambda: conformal.conformal_selection(Y > 0, Y, ARRAY[:, 0])),
        ("scores", lambda: conformal.conformal_p_values(ARRAY[:, 0], Y)),
        ("mean", lambda: conformal.SplitResidual(0.1).fit(Y, mean=ARRAY[:, 0])),
        ("y", lambda: conformal.SplitResidual(0.1).fit(ARRAY[:, 0], mean=Y)),
        ("mean", lambda: conformal.selective_risk(Y, mean=ARRAY[:, 0], interval=LOGITS)),
        ("location", lambda: regression.Gaussian(np.zeros(20), np.ones(20))),
        ("y", lambda: NORMAL.log_density(ARRAY[:, 0])),
        ("y", lambda: regression.pit(NORMAL, ARRAY[:, 0])),
        ("y", lambda: regression.evaluate_regression(NORMAL, ARRAY[:, 0])),
        ("pit", lambda: regression.probabilistic_calibration_error(ARRAY[:, 0])),
        ("levels", lambda: regression.pinball_loss(Y, LOGITS, [0.1, 0.5, 0.9])),
        ("inputs", lambda: check_samples(torch.nn.Linear(3, 2), ARRAY)),
    ],
)
def test_functions_take_tensors_and_say_so(name: str, call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{name} must be a torch\.Tensor, got .*; pass torch\.as_tensor\({name}\)$"):
        call()


def test_alpha_must_be_a_number() -> None:
    for wrong in ("x", None):
        with pytest.raises(TypeError, match=f"alpha must be a number, got {wrong!r}"):
            conformal.LAC(wrong)
        with pytest.raises(TypeError, match=f"alpha must be a number, got {wrong!r}"):
            conformal.SplitResidual(wrong).fit(Y, mean=Y)
    assert conformal.LAC(np.float32(0.1)).fit(LABELS, logits=LOGITS).scores_.shape == (20,)


def test_other_dtypes_are_told_their_conversion() -> None:
    with pytest.raises(TypeError, match=r"labels must be int64 class numbers, got torch.bool; .* labels\.long\(\)"):
        calibrate.OnlinePlatt().update(Y > 0, logits=Y)
    with pytest.raises(TypeError, match=r"targets must be floating point, got torch.int64; .* targets\.double\(\)"):
        calibrate.LevelSetBoosting(calibrate.Stump()).fit(LOGITS, LABELS % 2)
