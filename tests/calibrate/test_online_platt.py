"""Online Platt and beta scaling: closed forms, the stream as one, the slow twin, saving, drift."""

import json
import math
import pickle
from pathlib import Path

import pytest
import torch
from oracles import online as oracle

import trueline
from trueline.calibrate import HOPS, TOPS, Calibeating, HedgedCalibeating, OnlineBeta, OnlinePlatt
from trueline.contracts import OnlineCalibrator

MAKERS = {
    "platt": OnlinePlatt,
    "beta": OnlineBeta,
    "tops": TOPS,
    "hops": HOPS,
    "tracked beta": lambda: Calibeating(OnlineBeta(diameter=1.0), bins=5),
    "hedged hops": lambda: HedgedCalibeating(HOPS(bins=4, seed=3), bins=7, seed=1),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def _draw(generator: torch.Generator, samples: int = 120) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, generator=generator, dtype=torch.float64)
    return torch.bernoulli(torch.sigmoid(1 - 0.6 * logits), generator=generator).long(), logits


def test_three_labels_give_the_predictions_worked_out_by_hand() -> None:
    stated = OnlinePlatt().update(torch.tensor([1, 0, 1]), logits=torch.tensor([2.0, -1.0, 3.0], dtype=torch.float64))
    assert [round(p, 5) for p in stated.tolist()] == [0.5, 0.48766, 0.60871]


def test_the_first_step_has_a_closed_form() -> None:
    # A = I/s + ggᵀ for s = (beta·D)², so A⁻¹g = s·g/(1 + s·gᵀg), with g = (1/2)(z, 1) after a label of 0.
    z, s, beta = 1.5, (0.2 * 3) ** 2, 0.2
    platt = OnlinePlatt(beta=beta, diameter=3.0)
    platt.update(torch.tensor([0]), logits=torch.tensor([z], dtype=torch.float64))
    gain = s / (1 + s * (z * z + 1) / 4) / beta
    assert torch.allclose(platt.theta_, torch.tensor([-z / 2 * gain, -gain / 2], dtype=torch.float64))


@pytest.mark.parametrize("kind", [OnlinePlatt, OnlineBeta])
def test_the_first_prediction_is_one_half(kind: type[OnlineCalibrator]) -> None:
    scores = torch.tensor([-3.0, 0.0, 8.0])
    assert kind().predict(logits=scores).tolist() == [0.5, 0.5, 0.5]
    assert kind().update(torch.tensor([1]), logits=scores[:1]).tolist() == [0.5]


@pytest.mark.parametrize("kind", [OnlinePlatt, OnlineBeta])
def test_the_inverse_is_the_inverse(kind: type[OnlineCalibrator], generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 2000)
    object_ = kind()
    object_.update(labels, logits=logits)
    assert torch.allclose(object_.inverse_, torch.linalg.inv(object_.matrix_), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("radius", [100.0, 0.3])  # the small ball is left at nearly every step
@pytest.mark.parametrize(
    ("kind", "features", "diameter"),
    [(OnlinePlatt, oracle.platt_features, 1.0), (OnlineBeta, oracle.beta_features, 2.0)],
)
def test_the_slow_twin_states_the_same(kind, features, diameter: float, radius: float, generator) -> None:
    labels, logits = _draw(generator)
    expected = oracle.online_newton(logits.tolist(), labels.tolist(), features, diameter=diameter, radius=radius)
    stated = kind(radius=radius).update(labels, logits=logits)
    assert torch.allclose(stated, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


def test_the_projection_is_the_nearest_point_of_the_ball(generator: torch.Generator) -> None:
    """Stationary on the ball: A(θ' - θ) points along -θ', so the stated weights cannot be improved by turning."""
    labels, logits = _draw(generator)
    free, held = OnlinePlatt(radius=1e6), OnlinePlatt(radius=0.2)
    for platt in (free, held):
        platt.update(labels[:1], logits=logits[:1])
    assert free.theta_.norm() > 0.2
    assert held.theta_.norm().item() == pytest.approx(0.2, rel=1e-9)
    pull = held.matrix_ @ (free.theta_ - held.theta_)
    assert torch.allclose(pull / pull.norm(), held.theta_ / held.theta_.norm(), atol=1e-9)


@every
def test_a_batch_is_its_rows_one_by_one(make, generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    whole, single, halves = make(), make(), make()
    stated = whole.update(labels, logits=logits)
    rows = torch.cat([single.update(labels[i : i + 1], logits=logits[i : i + 1]) for i in range(len(labels))])
    parts = torch.cat([halves.update(labels[:47], logits=logits[:47]), halves.update(labels[47:], logits=logits[47:])])
    assert torch.equal(stated, rows)
    assert torch.equal(stated, parts)
    assert whole.state() == single.state() == halves.state()
    assert whole.steps_ == len(labels)


@every
def test_predict_learns_nothing_and_says_what_update_will(make, generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    object_ = make()
    for i in range(60):
        before = object_.state()
        said = object_.predict(logits=logits[i : i + 1])
        assert object_.state() == before
        assert torch.equal(said, object_.update(labels[i : i + 1], logits=logits[i : i + 1]))


@every
def test_a_saved_object_goes_on_as_if_it_had_not_been(make, generator: torch.Generator, tmp_path: Path) -> None:
    labels, logits = _draw(generator)
    for cut in (0, 1, 60):
        object_ = make()
        if cut:
            object_.update(labels[:cut], logits=logits[:cut])
        copies = [
            trueline.load(object_.save(tmp_path / "object.safetensors")),
            make().load_state(json.loads(json.dumps(object_.state()))),
            pickle.loads(pickle.dumps(object_)),
        ]
        expected = object_.update(labels[cut:], logits=logits[cut:])
        for copy in copies:
            assert repr(copy) == repr(object_)
            assert torch.equal(copy.update(labels[cut:], logits=logits[cut:]), expected)
        assert not hasattr(object_.unfitted(), "steps_")


@every
def test_shapes_and_dtypes_of_scores_agree(make, generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    expected = make().update(labels, logits=logits)
    columns = torch.stack([torch.full_like(logits, 3.0), logits + 3], dim=1)
    for given in ({"logits": columns}, {"logits": logits[:, None]}, {"probs": torch.sigmoid(logits)}):
        assert torch.allclose(make().update(labels, **given), expected, atol=1e-9)
    half = make().update(labels, logits=logits.half())
    assert half.dtype == torch.float16
    assert half.shape == (len(labels),)


@every
def test_saturated_scores_are_clipped(make) -> None:
    labels = torch.tensor([1, 0, 0, 1, 0])
    probs = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0])
    stated = make().update(labels, probs=probs)
    assert stated.isfinite().all()
    assert torch.equal(make().update(labels, logits=(probs - 0.5) * 1e30), stated)
    edge = torch.where(probs > 0.5, torch.tensor(1 - 1e-5, dtype=torch.float64), 1e-5)
    assert torch.allclose(make().update(labels, probs=edge).float(), stated)


@every
def test_one_label_forever_is_learned(make) -> None:
    object_ = make()
    stated = object_.update(torch.ones(2000, dtype=torch.int64), logits=torch.zeros(2000))
    assert stated[-1] > 0.9
    assert stated.isfinite().all()


def test_equal_weights_make_beta_scaling_platt_scaling() -> None:
    """ln f - (-(-ln(1 - f))): the two features add up to the log-odds, so a = b is a slope on them."""
    beta = OnlineBeta()
    eye = torch.eye(3)
    beta.load_state({"steps_": 1, "theta_": torch.tensor([0.7, 0.7, -0.3]), "matrix_": eye, "inverse_": eye})
    scores = torch.linspace(-11, 11, 9, dtype=torch.float64)
    assert torch.allclose(beta.predict(logits=scores), torch.sigmoid(0.7 * scores - 0.3), atol=1e-7)


def test_bad_input_is_refused_and_changes_nothing(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 10)
    platt = OnlinePlatt()
    platt.update(labels, logits=logits)
    before = platt.state()
    holed = logits.clone()
    holed[4] = math.nan
    with pytest.raises(ValueError, match="must be finite"):
        platt.update(labels, logits=holed)
    with pytest.raises(ValueError, match="labels must lie in \\[0, 1\\]"):
        platt.update(labels + 1, logits=logits)
    with pytest.raises(ValueError, match=r"two classes.*got 3 classes; pass the confidence"):
        platt.update(labels, logits=torch.zeros(10, 3))
    with pytest.raises(ValueError, match="exactly one of logits= and probs="):
        platt.predict()
    with pytest.raises(ValueError, match="N >= 1"):
        platt.predict(logits=logits[:0])
    with pytest.raises(TypeError):
        platt.update(labels.float(), logits=logits)
    assert platt.state() == before
    with pytest.raises(ValueError, match="positive, finite beta, got 0"):
        OnlinePlatt(beta=0)
    with pytest.raises(ValueError, match="positive, finite radius"):
        OnlineBeta(radius=math.inf)


def _drifting(generator: torch.Generator, samples: int = 800) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores whose meaning turns over: at first over-confident, at the end upside down."""
    logits = 2 * torch.randn(samples, generator=generator, dtype=torch.float64)
    slope = torch.linspace(0.8, -0.8, samples, dtype=torch.float64)
    return torch.bernoulli(torch.sigmoid(slope * logits + 0.3), generator=generator).long(), logits


def test_drift_is_followed_where_a_fixed_map_fails(generator: torch.Generator) -> None:
    """Brier scores over five streams: each method beats the scores as they are by more than three standard errors."""
    gains: dict[str, list[float]] = {name: [] for name in ("platt", "tops", "hops")}
    for _ in range(5):
        labels, logits = _drifting(generator)
        plain = (torch.sigmoid(logits) - labels).square().mean()
        for name, gain in gains.items():
            gain.append((plain - (MAKERS[name]().update(labels, logits=logits) - labels).square().mean()).item())
    for name, gain in gains.items():
        values = torch.tensor(gain)
        assert values.mean() > 3 * values.std() / 5**0.5 > 0, (name, gain)
