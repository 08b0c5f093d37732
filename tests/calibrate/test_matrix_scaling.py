"""Matrix scaling: exact recovery, the slow twin's gradient, scikit-learn, refusals and published predictions."""

import numpy as np
import pytest
import torch
from oracles import recalibration_maps as oracle
from sklearn.linear_model import LogisticRegression

from trueline.calibrate import MatrixScaling, VectorScaling
from trueline.contracts import check_calibrator
from trueline.measure import log_loss


def _draw(generator: torch.Generator, samples: int = 400, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    logits = 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    mixed = logits @ (0.6 * torch.eye(classes) + 0.2 * torch.randn(classes, classes, generator=generator)).double()
    return torch.multinomial(mixed.softmax(dim=1), 1, generator=generator).squeeze(1), logits


def test_it_keeps_the_contract() -> None:
    check_calibrator(lambda: MatrixScaling(force=True))  # it asks for 80 samples and 20 numbers


def test_as_many_groups_as_numbers_get_their_frequencies() -> None:
    # Three classes and three distinct rows: nine log-odds are all reached.
    rows = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
    counts = torch.tensor([[20, 60, 20], [50, 40, 10], [10, 15, 75]])
    probs = rows.repeat_interleave(100, dim=0)
    labels = torch.cat([torch.arange(3).repeat_interleave(line) for line in counts])
    fitted = MatrixScaling().fit(labels, probs=probs).predict_proba(probs=rows)
    assert torch.allclose(fitted, counts / 100, atol=1e-6)


def test_it_reaches_the_loss_of_logistic_regression(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    log_probs = logits.log_softmax(dim=1)
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_probs.numpy(), labels.numpy())
    theirs = torch.tensor(peer.predict_log_proba(log_probs.numpy()))
    ours = MatrixScaling().fit(labels, logits=logits).transform(logits=logits)
    assert log_loss(labels, logits=ours).mean() <= log_loss(labels, logits=theirs).mean() + 1e-9
    assert torch.allclose(ours, theirs, atol=1e-3)


@pytest.mark.parametrize(("off_diagonal", "intercept"), [(0.5, 0.0), (0.02, 0.3)])
def test_the_slow_twin_has_no_slope_there(generator: torch.Generator, off_diagonal: float, intercept: float) -> None:
    labels, logits = _draw(generator, 60)
    scaling = MatrixScaling(off_diagonal=off_diagonal, intercept=intercept).fit(labels, logits=logits)
    rows = [oracle.log_softmax(row) for row in logits.tolist()]

    def loss(point: list[float]) -> float:
        matrix = [point[3 * i : 3 * i + 3] for i in range(3)]
        return oracle.odir_objective(rows, labels.tolist(), matrix, point[9:], off_diagonal, intercept)

    at = scaling.matrix_.flatten().tolist() + scaling.intercept_.tolist()
    assert max(map(abs, oracle.gradient(loss, at))) < 1e-8


def test_an_endless_penalty_off_the_diagonal_is_vector_scaling(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    matrix = MatrixScaling(off_diagonal=1e9).fit(labels, logits=logits)
    vector = VectorScaling().fit(labels, logits=logits)
    assert torch.allclose(matrix.transform(logits=logits), vector.transform(logits=logits), atol=1e-5)


def test_many_classes_take_another_way_to_the_same_minimum(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, logits = _draw(generator)
    make = lambda: MatrixScaling(off_diagonal=0.1)  # noqa: E731
    first = make().fit(labels, logits=logits)
    monkeypatch.setattr("trueline.calibrate._multinomial._DENSE_CLASSES", 2)
    second = make().fit(labels, logits=logits)
    assert not torch.equal(first.matrix_, second.matrix_)
    assert torch.allclose(first.transform(logits=logits), second.transform(logits=logits), atol=1e-7)


def test_many_classes_that_can_nearly_be_separated_reach_the_minimum_too() -> None:
    """Where the diagonal of the curvature alone leads nowhere."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(700, 33, generator=generator, dtype=torch.float64)
    labels = logits.argmax(dim=1)
    mixed = torch.randperm(700, generator=generator)[:250]
    labels[mixed] = torch.randint(33, (250,), generator=generator)
    found = MatrixScaling(force=True).fit(labels, logits=logits)
    residual = found.predict_proba(logits=logits) - torch.eye(33, dtype=torch.float64)[labels]
    assert (residual.T @ logits.log_softmax(dim=1) / 700).abs().max() < 1e-5


def test_few_samples_are_refused_unless_forced_or_penalised(generator: torch.Generator) -> None:
    labels, logits = _draw(generator, 119)
    with pytest.raises(ValueError, match=r"refuses 119 samples, fewer than 10 for each of 12 numbers.*force=True"):
        MatrixScaling().fit(labels, logits=logits)
    with pytest.raises(ValueError, match="refuses"):
        MatrixScaling(intercept=1.0).fit(labels, logits=logits)
    MatrixScaling(force=True).fit(labels, logits=logits)
    MatrixScaling(off_diagonal=1e-3).fit(labels, logits=logits)
    labels, logits = _draw(generator, 120)
    MatrixScaling().fit(labels, logits=logits)


@pytest.mark.parametrize("options", [{"off_diagonal": -1.0}, {"intercept": float("nan")}, {"intercept": float("inf")}])
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="finite and at least 0"):
        MatrixScaling(**options)


def test_real_probabilities_give_the_independent_scores(shared_data) -> None:
    with np.load(shared_data / "predictions" / "cifar10-wrn16x4-probs.npz") as file:
        labels, log_probs = torch.tensor(file["labels"]), torch.tensor(file["probs"]).double().clamp_min(1e-38).log()
    mapped = MatrixScaling().fit(labels[:5000], logits=log_probs[:5000]).transform(logits=log_probs[5000:])
    assert (mapped.argmax(dim=1) == labels[5000:]).double().mean().item() == pytest.approx(0.9224, abs=4e-4)
    assert log_loss(labels[5000:], logits=mapped).mean().item() == pytest.approx(0.2314, abs=1.1e-4)


@pytest.mark.slow
def test_a_hundred_classes_collapse(shared_data) -> None:
    with np.load(shared_data / "predictions" / "cifar100-densenet-probs.npz") as file:
        labels, log_probs = torch.tensor(file["labels"]), torch.tensor(file["probs"]).double().clamp_min(1e-38).log()
    with pytest.raises(ValueError, match="5000 samples, fewer than 10 for each of 10100 numbers"):
        MatrixScaling().fit(labels[:5000], logits=log_probs[:5000])
    mapped = MatrixScaling(force=True).fit(labels[:5000], logits=log_probs[:5000]).transform(logits=log_probs[5000:])
    assert (mapped.argmax(dim=1) == labels[5000:]).double().mean().item() == pytest.approx(0.59, abs=0.03)
    assert log_loss(labels[5000:], logits=mapped).mean().item() > 8
