"""Prediction sets: what streams is what was given, and nothing that is no prediction gets through."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline.contracts import check_predictions
from trueline.predictions import PredictionSet, _checked_blocks, from_arrays, sample_rows


def _softmax(samples: int = 9, classes: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, classes, generator=generator, dtype=torch.float64).softmax(dim=1)


@pytest.fixture
def blocks_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that hold four entries: two rows of two classes, one row of three or four."""
    monkeypatch.setattr(_checked_blocks, "BLOCK", 4)


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 30),
    classes=st.integers(2, 5),
    entries=st.integers(1, 40),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    data=st.data(),
)
def test_blocks_are_the_rows_in_order_as_often_as_wanted(
    samples: int, classes: int, entries: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    values = torch.arange(samples * classes).view(samples, classes).to(dtype) - 3
    rows = torch.tensor(sorted(data.draw(st.sets(st.integers(0, samples - 1)))), dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checked_blocks, "BLOCK", entries)
        predictions = from_arrays(torch.zeros(samples, dtype=torch.int64), logits=values)
        for _ in range(2):
            blocks = list(predictions.blocks())
            assert all(block.numel() <= max(entries, classes) for block in blocks)
            assert torch.equal(torch.cat(blocks), values)
            assert torch.cat(blocks).dtype == dtype
        assert torch.equal(sample_rows(predictions, rows), values[rows])


@pytest.mark.parametrize(
    ("names", "message"), [((), "0 group names"), (("a",), "got 0 to 1"), (("a", "a"), "a name of its own")]
)
def test_every_group_has_a_name_of_its_own(names: tuple[str, ...], message: str) -> None:
    known = from_arrays(torch.zeros(2, dtype=torch.int64), probs=_softmax(2), groups=["a", "b"])
    with pytest.raises(ValueError, match=message):
        replace(known, group_names=names)


def test_one_column_is_class_one_of_two() -> None:
    probs = torch.tensor([0.25, 1.0])
    for shape in ((2,), (2, 1)):
        predictions = from_arrays([0, 1], probs=probs.reshape(shape))
        assert predictions.num_classes == 2
        assert torch.cat(list(predictions.blocks())).tolist() == [[0.75, 0.25], [0.0, 1.0]]
        predictions = from_arrays([0, 1], logits=torch.tensor([-2.0, 3.0]).reshape(shape))
        assert torch.cat(list(predictions.blocks())).tolist() == [[0.0, -2.0], [0.0, 3.0]]


def test_sample_rows_reads_no_further_than_it_must(blocks_of_four: None) -> None:
    logits = torch.randn(9, 3)
    logits[6] = torch.nan
    predictions = from_arrays([0] * 9, logits=logits)
    assert torch.equal(sample_rows(predictions, torch.tensor([1, 5])), logits[[1, 5]])
    with pytest.raises(ValueError, match="row 6 holds nan"):
        sample_rows(predictions, torch.tensor([1, 7]))


@pytest.mark.parametrize("rows", [[1, 0], [0, 0], [-1, 0], [0, 2]])
def test_rows_that_do_not_increase_or_do_not_exist_are_refused(rows: list[int]) -> None:
    predictions = from_arrays([0, 1], logits=[[2.0, 1.0], [1.0, 3.0]])
    with pytest.raises(ValueError, match="rows must increase from at least 0 to at most 1"):
        sample_rows(predictions, torch.tensor(rows))


@pytest.mark.parametrize("culprit", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_not_finite_is_named_by_its_row_in_the_whole_set(blocks_of_four: None, culprit: float) -> None:
    logits = torch.randn(9, 3)
    logits[7, 1] = culprit
    with pytest.raises(ValueError, match=f"logits must be finite, but row 7 holds {culprit}"):
        list(from_arrays([0] * 9, logits=logits).blocks())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.6, -0.1], r"row 7 holds -0.1; if these are logits, pass logits="),
        ([0.0, 0.0, 1.2], r"row 7 holds 1.2; if these are logits"),
        ([0.3, 0.3, 0.3], r"row 7 sums to 0.9; normalise the rows"),
        ([20.0, 70.0, 10.0], r"row 7 holds 20; rows sum to 100: divide percentages by 100"),
    ],
)
def test_probabilities_that_are_none_are_named_by_their_row(
    blocks_of_four: None, row: list[float], message: str
) -> None:
    probs = _softmax()
    probs[7] = torch.tensor(row)
    with pytest.raises(ValueError, match=message):
        list(from_arrays([0] * 9, probs=probs).blocks())


@pytest.mark.parametrize(
    ("value", "message"), [(30.0, "divide by 100"), (-3.0, "pass logits="), (300.0, "pass logits=")]
)
def test_single_probabilities_out_of_range_are_explained(value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(from_arrays([0, 1], probs=torch.tensor([value, 0.5])).blocks())


@pytest.mark.parametrize("excess", [-1.1e-3, -0.9e-3, 0.9e-3, 1.1e-3])
def test_rows_of_probabilities_may_miss_one_by_as_much_as_anywhere_else(excess: float) -> None:
    def accepted(read) -> bool:
        try:
            read()
        except ValueError:
            return False
        return True

    for probs in (torch.tensor([[0.4, 0.6 + excess]]), torch.tensor([1 + excess])):
        given = from_arrays([0], probs=probs)
        assert accepted(lambda given=given: list(given.blocks())) == accepted(
            lambda probs=probs: check_predictions(probs=probs)
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("samples", [1, 9])
def test_probabilities_given_as_logits_are_refused_before_the_last_block(
    blocks_of_four: None, dtype: torch.dtype, samples: int
) -> None:
    probs = _softmax(samples).to(dtype)
    seen = []
    with pytest.raises(ValueError, match="these are probabilities, pass probs="):
        seen.extend(from_arrays([0] * samples, logits=probs).blocks())
    assert len(seen) == samples - 1


@pytest.mark.parametrize("row", [0, 4, 8])
def test_one_row_that_is_no_distribution_makes_them_logits(blocks_of_four: None, row: int) -> None:
    values = _softmax()
    values[row] = torch.tensor([-0.5, 1.0, 0.5])
    assert len(list(from_arrays([0] * 9, logits=values).blocks())) == 9


def test_single_probabilities_given_as_logits_are_refused_and_both_columns_help() -> None:
    column = torch.tensor([0.2, 0.9, 0.4])
    with pytest.raises(ValueError, match="pass probs=; if they are log-odds after all, give both columns"):
        list(from_arrays([0, 1, 1], logits=column).blocks())
    both = torch.stack([torch.zeros(3), column], dim=1)
    assert torch.equal(next(from_arrays([0, 1, 1], logits=both).blocks()), both)


def test_bfloat16_is_too_coarse_for_probabilities() -> None:
    with pytest.raises(ValueError, match="bfloat16 is too coarse"):
        list(from_arrays([0], probs=torch.tensor([[0.4, 0.3, 0.305]]).bfloat16()).blocks())


def _set(**changes: object) -> PredictionSet:
    fields = {
        "name": "model",
        "source": "a test",
        "kind": "logits",
        "labels": torch.tensor([0, 1]),
        "num_classes": 2,
        "blocks": lambda: iter([torch.eye(2)]),
    }
    return PredictionSet(**(fields | changes))


def test_classes_are_named_by_number_unless_they_have_names() -> None:
    assert _set().class_names == ("0", "1")
    assert _set(class_names=("cat", "dog")).class_names == ("cat", "dog")
    assert len(_set()) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": torch.tensor([0, 2])}, r"labels must lie in \[0, 1\], but row 1 holds 2"),
        ({"labels": torch.tensor([], dtype=torch.int64)}, "there are no samples"),
        ({"num_classes": 1}, "at least two classes, got 1"),
        ({"class_names": ("a",)}, "got 1 names for 2 classes"),
        ({"weight": torch.tensor([1.0, -1.0])}, "weight must be finite, at least zero"),
        ({"held_out": from_arrays([0], logits=[[5.0, 2.0, 1.0]])}, "must have the same 2 classes, got 3"),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _set(**changes)


def test_numpy_blocks_are_copies() -> None:
    values = np.array([[1.0, -2.0], [3.0, 4.0]])
    next(from_arrays([0, 1], logits=values).blocks()).zero_()
    assert values.tolist() == [[1.0, -2.0], [3.0, 4.0]]
