"""Vector scaling: closed forms, invariances, the slow twin's gradient, scikit-learn and published predictions."""

import numpy as np
import pytest
import torch
from oracles import recalibration_maps as oracle
from sklearn.linear_model import LogisticRegression

from trueline.calibrate import TemperatureScaling, VectorScaling
from trueline.contracts import check_calibrator
from trueline.measure import log_loss


def _draw(generator: torch.Generator, samples: int = 400, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    honest = logits * torch.linspace(0.4, 0.9, classes) + torch.linspace(-0.5, 0.5, classes)
    return torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(VectorScaling)


def test_two_groups_of_two_classes_get_their_frequencies() -> None:
    # Slopes and intercepts can reach any two log-odds.
    probs = torch.tensor([[0.8, 0.2]] * 50 + [[0.3, 0.7]] * 50)
    labels = torch.tensor([0] * 45 + [1] * 5 + [0] * 20 + [1] * 30)
    fitted = VectorScaling().fit(labels, probs=probs).predict_proba(probs=probs)
    assert fitted[0, 0].item() == pytest.approx(0.9, abs=1e-6)
    assert fitted[50, 0].item() == pytest.approx(0.4, abs=1e-6)


def test_constant_logits_give_the_class_frequencies() -> None:
    labels = torch.tensor([0] * 30 + [1] * 60 + [2] * 10)
    fitted = VectorScaling().fit(labels, logits=torch.zeros(100, 3)).predict_proba(logits=torch.zeros(1, 3))
    assert torch.allclose(fitted, torch.tensor([[0.3, 0.6, 0.1]]), atol=1e-6)


def test_mean_probabilities_are_the_class_frequencies(generator: torch.Generator) -> None:
    # The derivative in the intercepts is zero.
    labels, logits = _draw(generator)
    mean = VectorScaling().fit(labels, logits=logits).predict_proba(logits=logits).mean(dim=0)
    assert torch.allclose(mean, labels.bincount().double() / len(labels), atol=1e-9)


def test_classes_can_be_renamed(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    order = torch.tensor([2, 0, 1])
    first = VectorScaling().fit(labels, logits=logits).predict_proba(logits=logits)[:, order]
    second = (
        VectorScaling().fit(order.argsort()[labels], logits=logits[:, order]).predict_proba(logits=logits[:, order])
    )
    assert torch.allclose(first, second, atol=1e-8)


def test_the_slow_twin_has_no_slope_there(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 120)
    weight = torch.rand(120, generator=generator, dtype=torch.float64) + 0.1
    scaling = VectorScaling().fit(labels, logits=logits, weight=weight)
    rows = [oracle.log_softmax(row) for row in logits.tolist()]

    def loss(point: list[float]) -> float:
        matrix = [[point[i] if i == j else 0.0 for j in range(3)] for i in range(3)]
        mapped = [oracle.affine(row, matrix, point[3:]) for row in rows]
        return oracle.mean_loss(mapped, labels.tolist(), weight.tolist())

    at = scaling.slope_.tolist() + scaling.intercept_.tolist()
    assert max(map(abs, oracle.gradient(loss, at))) < 1e-8


def test_two_classes_reach_the_loss_of_logistic_regression(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 400, 2)
    log_probs = logits.log_softmax(dim=1)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_probs.numpy(), labels.numpy())
    theirs = torch.tensor(peer.predict_log_proba(log_probs.numpy()))
    ours = VectorScaling().fit(labels, logits=logits).transform(logits=logits)
    assert log_loss(labels, logits=ours).mean() <= log_loss(labels, logits=theirs).mean() + 1e-9
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_it_is_never_worse_than_temperature_scaling(generator: torch.Generator) -> None:
    for samples in (60, 100):
        labels, logits = _draw(generator, samples)
        one, many = (
            log_loss(labels, logits=kind().fit(labels, logits=logits).transform(logits=logits)).mean()
            for kind in (TemperatureScaling, VectorScaling)
        )
        assert many <= one


def test_few_samples_are_warned_of(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 59)
    with pytest.warns(UserWarning, match="VectorScaling is fitted to 59 samples, fewer than 10 for each of 6 numbers"):
        VectorScaling().fit(labels, logits=logits)
    labels, logits = _draw(generator, 60)
    VectorScaling().fit(labels, logits=logits)
    weight = torch.ones(60)
    weight[0] = 0
    with pytest.warns(UserWarning, match="59 samples"):
        VectorScaling().fit(labels, logits=logits, weight=weight)


def test_one_class_that_is_never_the_label_stays_finite(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    kept = labels != 2
    with pytest.warns(UserWarning, match="^class 2 has no samples, so VectorScaling gives next to no probability"):
        fitted = VectorScaling().fit(labels[kept], logits=1e3 * logits[kept])
    assert fitted.transform(logits=1e3 * logits).isfinite().all()


@pytest.mark.parametrize(
    ("name", "accuracy", "loss"),
    [("cifar10-wrn16x4-probs", 0.9230, 0.2350), ("cifar100-densenet-probs", 0.7530, 0.8669)],
)
def test_real_probabilities_give_the_independent_scores(shared_data, name: str, accuracy: float, loss: float) -> None:
    with np.load(shared_data / "predictions" / f"{name}.npz") as file:
        labels, log_probs = torch.tensor(file["labels"]), torch.tensor(file["probs"]).double().clamp_min(1e-38).log()
    scaling = VectorScaling().fit(labels[:5000], logits=log_probs[:5000])
    mapped = scaling.transform(logits=log_probs[5000:])
    assert (mapped.argmax(dim=1) == labels[5000:]).double().mean().item() == pytest.approx(accuracy, abs=2.1e-4)
    assert log_loss(labels[5000:], logits=mapped).mean().item() == pytest.approx(loss, abs=1.1e-4)
