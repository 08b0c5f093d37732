"""Predictions and labels: what is read, exactly, and what is refused, with which words."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline.contracts import (
    check_labels,
    check_predictions,
    check_weight,
    read_hits,
    read_log_probs,
    read_probs,
    read_top_label,
    row_blocks,
)


def test_logits_become_log_probabilities(generator: torch.Generator) -> None:
    logits = torch.randn(20, 5, generator=generator)
    log_probs = read_log_probs(logits=logits)
    assert log_probs.dtype == torch.float64
    assert torch.allclose(log_probs.exp().sum(dim=1), torch.ones(20).double(), atol=1e-14, rtol=0)
    assert torch.allclose(log_probs, read_log_probs(logits=logits + 64), atol=1e-5)
    assert torch.allclose(read_probs(logits=logits), log_probs.exp(), atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_keep_their_exact_values(dtype: torch.dtype) -> None:
    probs = torch.tensor([[1.0, 0.0], [0.75, 0.25]], dtype=dtype)
    assert torch.equal(read_probs(probs=probs), probs.double())
    assert read_log_probs(probs=probs)[0].tolist() == [0, math.log(torch.finfo(dtype).tiny)]
    confidence, prediction = read_top_label(probs=probs)
    assert confidence.tolist() == [1, 0.75]
    assert prediction.tolist() == [0, 0]


def test_top_labels_of_logits_are_those_of_their_softmax(
    generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trueline.contracts._checks._BLOCK", 21)
    logits = 5 * torch.randn(50, 4, generator=generator)
    confidence, prediction = read_top_label(logits=logits)
    assert torch.allclose(confidence, logits.double().softmax(dim=1).amax(dim=1), atol=1e-15, rtol=0)
    assert torch.equal(prediction, logits.argmax(dim=1))
    assert confidence.dtype == torch.float64


def test_ties_go_to_the_lowest_class_and_saturation_reaches_one() -> None:
    confidence, prediction = read_top_label(logits=torch.tensor([[2.0, 2.0, 2.0, 2.0], [0.0, 1e30, 0.0, 0.0]]))
    assert confidence.tolist() == [0.25, 1]
    assert prediction.tolist() == [0, 1]


@given(rows=st.integers(1, 40), classes=st.integers(2, 9), block=st.integers(1, 50))
@settings(deadline=None, max_examples=25)
def test_blocks_cover_every_row_once(rows: int, classes: int, block: int) -> None:
    values, others = torch.arange(float(rows * classes)).view(rows, classes), torch.arange(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trueline.contracts._checks._BLOCK", block)
        parts = list(row_blocks(values, others))
    assert torch.equal(torch.cat([part for part, _ in parts]), values)
    assert torch.equal(torch.cat([part for _, part in parts]), others)
    assert max(part.numel() for part, _ in parts) <= max(block, classes)


def test_exactly_one_of_logits_and_probabilities_is_taken() -> None:
    values = torch.tensor([[0.5, 0.5]])
    for read in (read_log_probs, read_probs, read_top_label, check_predictions):
        with pytest.raises(ValueError, match="got both; pass one by keyword"):
            read(logits=values, probs=values)
        with pytest.raises(ValueError, match="got neither; pass one by keyword"):
            read()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["logits", "probs"])
def test_a_value_that_is_not_finite_is_named_with_its_row(bad: float, kind: str) -> None:
    values = torch.full((4, 2), 0.5)
    values[2, 1] = bad
    with pytest.raises(ValueError, match=f"{kind} must be finite, but row 2 holds {bad}"):
        check_predictions(**{kind: values})


@pytest.mark.parametrize("shape", [(0, 3), (0, 1), (4, 0), (0,), (2, 3, 4)])
def test_shapes_without_samples_or_classes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"N >= 1, or \(N,\) for two classes, got " + re.escape(str(shape))):
        check_predictions(logits=torch.zeros(shape))


def test_values_outside_the_simplex_are_refused() -> None:
    with pytest.raises(ValueError, match="got values from -1 to 2; if these are logits, pass logits="):
        check_predictions(probs=torch.tensor([[-1.0, 2.0]]))
    with pytest.raises(ValueError, match=r"row 1 sums to 0\.9; normalise the rows"):
        check_predictions(probs=torch.tensor([[0.5, 0.5], [0.5, 0.4]]))


def test_rounding_of_half_precision_rows_is_accepted(generator: torch.Generator) -> None:
    probs = torch.randn(50, 1000, generator=generator).softmax(dim=1)
    for dtype in (torch.float16, torch.float32):
        assert check_predictions(probs=probs.to(dtype)).dtype == dtype


def test_labels_out_of_range_are_refused_with_a_hint() -> None:
    check_labels(torch.tensor([0, 2]), 2, 3)
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 2\], got values from -1 to 2$"):
        check_labels(torch.tensor([-1, 2]), 2, 3)
    with pytest.raises(ValueError, match="labels that start at 1 need labels - 1"):
        check_labels(torch.tensor([1, 3]), 2, 3)
    with pytest.raises(ValueError, match=r"labels must have shape \(3,\) to match the predictions, got \(2,\)"):
        check_labels(torch.tensor([0, 1]), 3, 3)


def test_wrong_types_are_refused_in_our_own_words() -> None:
    # The suite's type checker would speak first, so these call what lies beneath its wrapper.
    unwrapped = check_labels
    while hasattr(unwrapped, "__wrapped__"):
        unwrapped = unwrapped.__wrapped__
    with pytest.raises(TypeError, match="labels must be int64 class numbers, got torch"):
        unwrapped(torch.tensor([0.0]), 1, 2)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_two_classes_may_be_one_number(shape: tuple[int, ...], generator: torch.Generator) -> None:
    log_odds = 3 * torch.randn(30, generator=generator)
    pair = torch.stack([torch.zeros(30), log_odds], dim=1)
    assert torch.equal(check_predictions(logits=log_odds.view(shape)), pair)
    chance = log_odds.sigmoid()
    assert torch.equal(check_predictions(probs=chance.view(shape)), torch.stack([1 - chance, chance], dim=1))
    assert torch.allclose(read_probs(logits=log_odds.view(shape))[:, 1], log_odds.double().sigmoid(), atol=1e-15)


def test_the_one_number_may_be_zero_half_or_one() -> None:
    confidence, prediction = read_top_label(probs=torch.tensor([0.0, 0.5, 1.0, 1.0005]))
    assert confidence.tolist() == [1, 0.5, 1, 1]
    assert prediction.tolist() == [0, 0, 1, 1]  # of classes that tie the lowest is predicted, as in two columns


def test_the_one_number_is_checked_like_the_others() -> None:
    with pytest.raises(ValueError, match="pass logits="):
        check_predictions(probs=torch.tensor([0.2, -3.0]))
    with pytest.raises(ValueError, match="row 1 holds nan"):
        check_predictions(logits=torch.tensor([0.2, math.nan]))


def test_hits_are_where_the_prediction_is_the_label(generator: torch.Generator) -> None:
    logits, labels = torch.randn(30, 4, generator=generator), torch.randint(4, (30,), generator=generator)
    confidence, hits = read_hits(labels, logits=logits)
    expected, prediction = read_top_label(logits=logits)
    assert torch.equal(confidence, expected)
    assert torch.equal(hits, prediction == labels)
    with pytest.raises(ValueError, match="labels must lie"):
        read_hits(labels + 4, logits=logits)


@pytest.mark.parametrize(
    ("weight", "error", "words"),
    [
        (torch.ones(4), ValueError, r"shape \(3,\)"),
        (torch.zeros(3), ValueError, "positive somewhere"),
        (torch.tensor([1.0, -1.0, 1.0]), ValueError, "at least zero"),
        (torch.tensor([1.0, math.nan, 1.0]), ValueError, "finite"),
    ],
)
def test_weights_that_cannot_weigh_are_refused(weight: torch.Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        check_weight(weight, 3)
