"""Multicalibrated classes: groups become honest, two classes are one boosting, rows sum to one, and files."""

from pathlib import Path

import pytest
import torch

from trueline.calibrate._least_squares import LeastSquares
from trueline.calibrate._multicalibrated_classes import MulticalibratedClasses
from trueline.calibrate._multicalibration import LevelSetBoosting
from trueline.calibrate._stump import Stump
from trueline.contracts import load
from trueline.measure import brier

KNOWN = [MulticalibratedClasses, LevelSetBoosting, LeastSquares, Stump]


def _draw(
    generator: torch.Generator, classes: int, samples: int = 1200
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Labels, a group, and logits that are right in group 0 and three times too large in group 1."""
    honest = torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=generator).squeeze(1)
    group = torch.arange(samples) % 2
    return labels, group.double()[:, None], torch.where(group[:, None] == 0, 1, 3) * honest


@pytest.mark.parametrize("classes", [2, 3])
def test_the_dishonest_group_is_mended(generator: torch.Generator, classes: int) -> None:
    labels, group, logits = _draw(generator, classes)
    fit, test = slice(0, 800), slice(800, None)
    honest = MulticalibratedClasses(LevelSetBoosting(LeastSquares()))
    honest.fit(labels[fit], group[fit], logits=logits[fit])
    probs = honest.predict_proba(group[test], logits=logits[test])
    assert torch.allclose(probs.sum(dim=1), torch.ones(400, dtype=torch.float64))
    own = group[test].squeeze(1) == 1
    before, after = (
        brier(labels[test][own], **given).mean().item()
        for given in ({"logits": logits[test][own]}, {"probs": probs[own]})
    )
    assert after < before - 0.01


def test_two_classes_are_one_boosting_of_class_1(generator: torch.Generator) -> None:
    labels, group, logits = _draw(generator, 2)
    chance = logits.softmax(dim=1)[:, 1]
    alone = LevelSetBoosting(LeastSquares()).fit(group, labels.double(), start=chance).predict(group, start=chance)
    both = MulticalibratedClasses(LevelSetBoosting(LeastSquares())).fit(labels, group, probs=chance)
    assert torch.allclose(both.predict_proba(group, logits=logits)[:, 1], alone, atol=1e-12)
    assert len(both.boosters_) == 1


def test_validation_samples_are_not_fitted_to(generator: torch.Generator) -> None:
    labels, group, logits = _draw(generator, 3, 300)
    held = torch.arange(200, 300)
    made = MulticalibratedClasses(LevelSetBoosting(LeastSquares(), rounds=5))
    made.fit(labels, group, logits=logits, validation=held)
    assert all(booster.history().validation_error is not None for booster in made.boosters_)
    assert made.predict_proba(group.float(), logits=logits.float()).dtype == torch.float32


def test_rows_that_no_class_wants_become_uniform() -> None:
    labels, inputs = torch.tensor([0, 1, 2] * 10), torch.zeros(30, 1)
    inputs[0] = 1.0
    made = MulticalibratedClasses(LevelSetBoosting(Stump(), rounds=0)).fit(labels, inputs, probs=torch.eye(3)[labels])
    made.boosters_ = [booster.fit(inputs, 0 * labels.double(), start=labels / 2) for booster in made.boosters_]
    for booster in made.boosters_:
        booster.rounds_ = [{str(v): LeastSquares().fit(inputs, torch.zeros(30)) for v in range(11)}]
    assert made.predict_proba(inputs, probs=torch.eye(3)[labels])[0].tolist() == pytest.approx([1 / 3] * 3)


def test_a_file_keeps_it(generator: torch.Generator, tmp_path: Path) -> None:
    labels, group, logits = _draw(generator, 3, 300)
    made = MulticalibratedClasses(LevelSetBoosting(Stump())).fit(labels, group, logits=logits)
    read = load(made.save(tmp_path / "classes"), known=KNOWN)
    assert torch.equal(read.predict_proba(group, logits=logits), made.predict_proba(group, logits=logits))
    assert repr(read) == repr(made)


def test_what_cannot_be_is_refused(generator: torch.Generator) -> None:
    labels, group, logits = _draw(generator, 3, 30)
    made = MulticalibratedClasses(LevelSetBoosting(LeastSquares()))
    with pytest.raises(RuntimeError, match="is not fitted"):
        made.predict_proba(group, logits=logits)
    with pytest.raises((ValueError, TypeError)):
        made.fit(labels, group[1:], logits=logits)
    with pytest.raises(ValueError, match="validation must be positions in"):
        made.fit(labels, group, logits=logits, validation=torch.tensor([30]))
    with pytest.raises(ValueError, match="validation must leave samples to fit to"):
        made.fit(labels, group, logits=logits, validation=torch.arange(30))
    with pytest.raises(ValueError, match="was fitted to 3 classes, got 2"):
        made.fit(labels, group, logits=logits).predict_proba(group, logits=logits[:, :2])
