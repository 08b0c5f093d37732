"""Calibrated stacking: the best constant, classes left out, and real digits."""

from pathlib import Path

import pytest
import torch
from oracles import zero_shot as oracle
from sklearn.datasets import load_digits

import trueline
from trueline.calibrate import CalibratedStacking, leave_classes_out
from trueline.measure import ausuc

SEEN = torch.tensor([True, True, False, True, False])


def _draw(generator: torch.Generator, samples: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(5, (samples,), generator=generator)
    logits = torch.randn(samples, 5, generator=generator, dtype=torch.float64) + 3 * SEEN
    return labels, logits + 2 * torch.nn.functional.one_hot(labels, 5)


def _harmonic(labels: torch.Tensor, logits: torch.Tensor, gamma: float) -> float:
    seen, unseen = oracle.accuracies(logits.tolist(), labels.tolist(), SEEN.tolist(), gamma)
    return 2 * seen * unseen / (seen + unseen) if seen + unseen else 0.0


def test_no_other_constant_has_a_larger_harmonic_mean(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    gamma = CalibratedStacking().fit(labels, logits=logits, seen=SEEN).gamma_
    best = _harmonic(labels, logits, gamma)
    assert best > _harmonic(labels, logits, 0.0)
    assert all(_harmonic(labels, logits, other) <= best + 1e-12 for other in torch.linspace(-2, 8, 201).tolist())


def test_a_constant_on_the_seen_scores_moves_gamma_by_it(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    first = CalibratedStacking().fit(labels, logits=logits, seen=SEEN)
    second = CalibratedStacking().fit(labels, logits=logits + 100.0 * SEEN, seen=SEEN)
    assert second.gamma_ == pytest.approx(first.gamma_ + 100)


def test_transform_predicts_what_the_definition_says(generator: torch.Generator) -> None:
    labels, logits = _draw(generator)
    stacking = CalibratedStacking().fit(labels, logits=logits, seen=SEEN)
    shifted = stacking.transform(logits=logits, seen=SEEN)
    expected = [oracle.predicted(row, SEEN.tolist(), stacking.gamma_) for row in logits.tolist()]
    assert shifted.argmax(dim=1).tolist() == expected
    assert torch.allclose(shifted.exp().sum(dim=1), torch.ones(60, dtype=torch.float64))
    assert torch.allclose(stacking.transform(probs=logits.softmax(dim=1), seen=SEEN), shifted)
    assert stacking.transform(logits=logits.float(), seen=SEEN).dtype == torch.float32


def test_every_seen_class_is_left_out_once(generator: torch.Generator) -> None:
    seen = torch.rand(11, generator=generator) < 0.7
    rounds = leave_classes_out(seen, folds=3, generator=generator)
    assert torch.equal((~rounds & seen).sum(dim=0), seen.long())
    assert not rounds[:, ~seen].any()
    left = (~rounds & seen).sum(dim=1)
    assert left.max() - left.min() <= 1
    assert torch.equal(leave_classes_out(seen), leave_classes_out(seen))
    with pytest.raises(ValueError, match=r"\[2, 2\], the number of seen classes, got 3"):
        leave_classes_out(torch.tensor([True, False, True]), folds=3)


def test_it_is_saved_and_loaded(generator: torch.Generator, tmp_path: Path) -> None:
    labels, logits = _draw(generator)
    fitted = CalibratedStacking().fit(labels, logits=logits, seen=SEEN)
    assert trueline.load(fitted.save(tmp_path / "gamma.safetensors")).gamma_ == fitted.gamma_


def test_end_cases() -> None:
    seen = torch.tensor([True, True, False])
    with pytest.warns(UserWarning, match="gamma_ is left at 0"):
        stacking = CalibratedStacking().fit(
            torch.tensor([1, 2]), logits=torch.tensor([[1.0, 0, 0], [1, 0, 0]]), seen=seen
        )
    assert stacking.gamma_ == 0
    equal = CalibratedStacking().fit(torch.tensor([0, 1, 2]), logits=torch.eye(3), seen=seen)
    assert equal.gamma_ == 0  # right as it is, between -1 and 1
    with pytest.raises(RuntimeError, match="not fitted"):
        CalibratedStacking().transform(logits=torch.eye(3), seen=seen)
    with pytest.raises(ValueError, match=r"seen must be bool of shape \(3,\)"):
        equal.transform(logits=torch.eye(3), seen=seen[:2])


def _prototype_scores(
    inputs: torch.Tensor, labels: torch.Tensor, seen: torch.Tensor, test: torch.Tensor
) -> torch.Tensor:
    """Distances to prototypes after a whitening that was learned from the seen classes alone: these fit too well."""
    trained = seen[labels]
    prototypes = torch.stack(
        [inputs[labels == c].mean(0) if seen[c] else inputs[labels == c][:3].mean(0) for c in range(len(seen))]
    )
    within = inputs[trained] - prototypes[labels[trained]]
    metric = torch.linalg.inv(within.T @ within / len(within) + 0.3 * torch.eye(inputs.shape[1], dtype=torch.float64))
    gaps = test[:, None] - prototypes
    return -(gaps @ metric * gaps).sum(dim=2) / 2


def test_digits_of_unseen_classes_are_found_with_a_gamma_chosen_on_left_out_ones() -> None:
    data = load_digits()
    inputs, labels = torch.tensor(data.data / 4), torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[:900], order[900:]
    gains = []
    for seed in range(3):
        unseen = torch.randperm(10, generator=torch.Generator().manual_seed(seed))[:3]
        seen = torch.ones(10, dtype=torch.bool)
        seen[unseen] = False
        inside = train[seen[labels[train]]]
        fitted, held = inside[::2], inside[1::2]
        columns = seen.nonzero().flatten()
        number = torch.full((10,), -1).index_put((columns,), torch.arange(7))
        rounds = leave_classes_out(seen, folds=3)[:, seen]
        scores = [_prototype_scores(inputs[fitted], number[labels[fitted]], r, inputs[held]) for r in rounds]
        masks = rounds.repeat_interleave(len(held), dim=0)
        stacking = CalibratedStacking().fit(number[labels[held]].repeat(3), logits=torch.cat(scores), seen=masks)
        final = _prototype_scores(inputs[train], labels[train], seen, inputs[test])
        found = ausuc(labels[test], logits=final, seen=seen)
        gains.append(found.harmonic_mean(stacking.gamma_) - found.harmonic_mean(0.0))
        assert found.area.value > found.harmonic_mean(0.0) ** 2
    assert min(gains) > 0.02, gains


def test_of_equally_good_constants_the_nearest_to_zero_is_taken() -> None:
    """Thresholds 0 (unseen), 1 (seen), 2 (unseen), 3 (seen): 1/2 and 5/2 are equally good, and so are -5/2 and -1/2."""
    labels, seen = torch.tensor([1, 0, 1, 0]), torch.tensor([True, False])
    for move, expected in ((0.0, 0.5), (-3.0, -0.5)):
        logits = torch.stack([torch.arange(4.0) + move, torch.zeros(4)], dim=1)
        assert CalibratedStacking().fit(labels, logits=logits, seen=seen).gamma_ == expected
