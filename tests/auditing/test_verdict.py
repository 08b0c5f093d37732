"""The verdict says what the numbers say: each sentence appears where it holds, and only beyond noise."""

import pytest
import torch

from trueline.auditing import audit
from trueline.page import points


def predictions(n: int, *, sharp: float = 1.0, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(1).multinomial(1, generator=generator).squeeze(1), sharp * logits


def lead(labels: torch.Tensor, **given: torch.Tensor) -> str:
    return audit(labels, **given).verdict[0]


def test_over_confidence_is_measured_repaired_and_its_remainder_judged() -> None:
    labels, logits = predictions(4000, sharp=2.5)
    found = audit(labels, logits=logits)
    (model,) = found.models
    before, after = model.evaluation, model.temperature.evaluation
    text = found.verdict[0]
    assert text.startswith(f"Over-confident by {points(before.scores['confidence_gap'].value)} points: right on")
    assert f"A temperature of {model.temperature.value:.2f} repairs nearly all of it" in text
    assert f"falls from {points(before.scores['ece'].value)} to {points(after.scores['ece'].value)} points" in text
    assert text.endswith("are within noise for 4,000 samples.")


def test_under_confidence_is_called_that() -> None:
    labels, logits = predictions(2000, sharp=0.4)
    assert lead(labels, logits=logits).startswith("Under-confident by ")


def test_a_calibrated_model_has_nothing_to_repair() -> None:
    labels, logits = predictions(2000)
    text = lead(labels, logits=logits)
    assert text.startswith("The model claims ")
    assert "on average that agrees within noise" in text
    assert "nothing for a temperature to repair" in text
    assert "confident by" not in text


def test_what_no_temperature_repairs_is_said() -> None:
    """Two kinds of samples, over- and under-confident in equal measure: the mean gap is zero, the error is not."""

    def two_kinds(n: int) -> str:
        half = torch.arange(n) % 2 == 0
        draws = torch.rand(n, generator=torch.Generator().manual_seed(0))
        labels = (draws < torch.where(half, 0.8, 0.7)).long()
        return lead(labels, probs=torch.where(half, 0.7, 0.8))

    assert "agrees within noise" in two_kinds(4000)
    assert "repairs hardly any of it" in two_kinds(4000)
    assert "does not change its calibration error" in two_kinds(300)
    assert "what is wrong is not the temperature" in two_kinds(300)


def test_a_temperature_that_harms_calibration_is_called_that() -> None:
    """Log loss is ruled by rare disasters: its best temperature softens everything that was honest."""
    probs = torch.tensor([[0.9, 0.1]]).repeat(3000, 1)
    probs[:60] = torch.tensor([1 - 1e-12, 1e-12])
    labels = (torch.rand(3000, generator=torch.Generator().manual_seed(0)) < 0.1).long()
    labels[:60] = 1
    text = lead(labels, probs=probs.double())
    assert "raises the calibration error" in text


def test_few_samples_have_an_error_but_no_temperature() -> None:
    labels, logits = predictions(20)
    text = lead(labels, logits=logits)
    assert "Its calibration error is" in text
    assert "emperature" not in text


def test_failures_name_the_weakest_class_and_group_only_beyond_noise() -> None:
    labels, logits = predictions(3000)
    plain = audit(labels, logits=logits, groups=torch.arange(3000) % 3).verdict[1]
    assert "The class recognised least" not in plain
    assert "No group is less accurate than the whole beyond noise." in plain
    spoiled = logits.clone()
    spoiled[labels == 2] = spoiled[labels == 2].roll(1, 1)
    groups = ["night" if label == 2 else "day" for label in labels.tolist()]
    named = audit(labels, logits=spoiled, groups=groups, class_names=["a", "b", "cat", "d"]).verdict[1]
    assert "The class recognised least is cat, on" in named
    assert "The least accurate group is night, right on" in named
    assert "The class recognised least is class 2, on" in audit(labels, logits=spoiled).verdict[1]


def test_confident_mistakes_are_counted() -> None:
    labels = torch.tensor([0] * 95 + [1] * 5)
    probs = torch.tensor([[0.995, 0.005]]).repeat(100, 1)
    assert (
        "5 of the 5 wrong predictions are made with a confidence of 99\N{NO-BREAK SPACE}% or more"
        in audit(labels, probs=probs).verdict[1]
    )


@pytest.mark.parametrize("name", ["cifar10-resnet20", "modèle <b>", "ab"])
def test_model_names_stay_as_they_are(name: str) -> None:
    labels, logits = predictions(300, sharp=2)
    verdict = audit(labels, logits={name: logits, "other": 2 * logits}).verdict
    assert verdict[0].startswith(f"{name} is over-confident by")
    assert verdict[1].startswith("other is over-confident by")
    assert any(f"other and {name} show no difference beyond noise" in paragraph for paragraph in verdict)
