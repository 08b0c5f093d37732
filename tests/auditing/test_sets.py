"""Prediction sets of an audit: thresholds from held-out samples or a half, rows of the file, none where few."""

import pytest
import torch
from torch import Tensor

from trueline import audit
from trueline.auditing import _sets as sets_module
from trueline.conformal import LAC
from trueline.page import png_uri


def _draw(seed: int, samples: int = 500) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    return logits.softmax(1).multinomial(1, generator=generator).squeeze(1), logits


def test_held_out_samples_give_the_threshold() -> None:
    labels, logits = _draw(0)
    other_labels, other = _draw(1)
    (model,) = audit(labels, logits=logits, held_out=(other_labels, other)).models
    expected = LAC(0.1).fit(other_labels, logits=other)
    assert model.sets is not None
    assert model.sets.conformal.threshold_ == pytest.approx(expected.threshold_, rel=1e-12)
    inside = expected.predict_set(logits=logits)
    assert model.sets.report.coverage.value == inside.gather(1, labels[:, None]).double().mean().item()


def test_the_table_holds_every_score_and_the_curve_over_alpha() -> None:
    labels, logits = _draw(0)
    rows = audit(labels, logits=logits).to_dict()["sets"]
    assert {row["score"] for row in rows} == {"lac", "aps", "raps", "saps", "margin"}
    assert len([row for row in rows if row["score"] == "lac"]) == 8
    assert {"model", "score", "alpha", "coverage", "size", "empty"} == set(rows[0])


def test_of_many_samples_some_are_looked_at_by_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets_module, "MOST", 250)
    labels, logits = _draw(0)
    images = torch.arange(500)[:, None, None].expand(500, 2, 2).div(2).to(torch.uint8)
    (model,) = audit(labels, logits=logits, images=images).models
    assert model.sets is not None
    assert len(model.sets.report.size) == 125
    for one in model.sets.largest:
        assert one.label == labels[one.index]
        assert one.classes[0] == logits[one.index].argmax() or not one.classes
        assert one.picture == png_uri(images[one.index][None])


def test_few_samples_have_none() -> None:
    labels, logits = _draw(0, samples=99)
    found = audit(labels, logits=logits)
    assert found.models[0].sets is None
    assert found.to_dict()["sets"] == []
