from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trueline.data import Examples, Source, digits, split

PARTS = ("train", "validation", "calibration", "test")


def source(labels: list[int], classes: int, *, own_test: bool = False) -> Source:
    given_labels = torch.tensor(labels)
    names = tuple(f"class {label}" for label in range(classes))
    inputs = torch.zeros(len(labels), 1)
    examples = Examples(inputs, given_labels, given_labels, names, torch.arange(len(labels)))
    return Source(examples, examples if own_test else None)


def indices(parts) -> list[list[int]]:
    return [getattr(parts, name).source_index.tolist() for name in PARTS]


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(20, 60), min_size=2, max_size=5),
    validation=st.integers(0, 30),
    calibration=st.integers(0, 30),
    test=st.integers(5, 30),
    seed=st.integers(0, 2**32),
)
def test_every_sample_lands_in_one_part_and_classes_in_proportion(counts, validation, calibration, test, seed) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    percent = {"validation": validation, "calibration": calibration, "test": test}
    fractions = {name: value / 100 for name, value in percent.items()}
    parts = split(source(labels, len(counts)), **fractions, seed=seed)
    assert sorted(index for part in indices(parts) for index in part) == list(range(len(labels)))
    for name, value in percent.items():
        part = getattr(parts, name)
        assert abs(len(part) - Fraction(value, 100) * len(labels)) < 1
        ideal = torch.tensor(counts) * len(part) / len(labels)
        # the parts are cut one after the other, so roundings may add up
        assert (part.true_labels.bincount(minlength=len(counts)) - ideal).abs().max() < 3


def test_sizes_are_rounded_by_largest_remainder() -> None:
    parts = split(digits(), validation=0.1, calibration=0.1, test=0.2)
    assert [len(getattr(parts, name)) for name in PARTS] == [1078, 180, 180, 359]
    # 0.29 * 100 is 28.999999999999996 in binary
    parts = split(source([0, 1] * 50, 2), validation=0.29, calibration=0.0, test=0.01)
    assert [len(getattr(parts, name)) for name in PARTS] == [70, 29, 0, 1]
    # 4.5 and 1.5 of 15 are a tie only in decimals, and a tie goes to the first
    parts = split(source([0, 1, 2] * 5, 3), validation=0.3, calibration=0.0, test=0.1)
    assert [len(getattr(parts, name)) for name in PARTS] == [9, 5, 0, 1]


def test_equal_classes_stay_exactly_equal() -> None:
    parts = split(source([0, 1, 2, 3] * 50, 4), validation=0.1, calibration=0.2, test=0.3)
    for name, count in zip(PARTS, (20, 5, 10, 15), strict=True):
        assert getattr(parts, name).true_labels.bincount().tolist() == [count] * 4


def test_the_seed_alone_decides() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (indices(split(digits(), seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(part == sorted(part) for part in first)


def test_strata_are_the_true_labels() -> None:
    true = source([0] * 50 + [1] * 50, 2)
    noisy = Source(true.train.with_labels(torch.arange(100) % 2))
    assert indices(split(true)) == indices(split(noisy))


def test_an_own_test_set_is_taken_whole() -> None:
    with_test = source([0, 1] * 20, 2, own_test=True)
    parts = split(with_test, validation=0.25, calibration=0.0)
    assert parts.test is with_test.test
    assert [len(getattr(parts, name)) for name in PARTS] == [30, 10, 0, 40]
    with pytest.raises(ValueError, match=r"has its own test set of 40 samples; leave test out, got 0\.2"):
        split(with_test, test=0.2)


def test_train_size_takes_a_stratified_subset_and_leaves_the_rest_alone() -> None:
    full, small = split(digits()), split(digits(), train_size=100)
    assert len(small.train) == 100
    assert set(small.train.source_index.tolist()) < set(full.train.source_index.tolist())
    assert indices(small)[1:] == indices(full)[1:]
    assert set(small.train.true_labels.bincount().tolist()) <= {9, 10, 11}
    with pytest.raises(ValueError, match=r"train_size must lie in \[1, 1078\], .* got 1079"):
        split(digits(), train_size=1079)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": -0.1}, r"validation must be a fraction in \[0, 1\), got -0.1"),
        ({"calibration": 1.0}, r"calibration must be a fraction in \[0, 1\), got 1.0"),
        ({"test": float("nan")}, r"test must be a fraction in \[0, 1\), got nan"),
        ({"validation": 0.5, "test": 0.4}, "nothing is left for training"),
        ({"test": 0.0}, "the test split is empty"),
    ],
)
def test_bad_fractions_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        split(digits(), **options)


def test_an_empty_class_is_named() -> None:
    with pytest.raises(ValueError, match=r"none is left of 'class 1', 'class 3'"):
        split(source([0, 2] * 20, 4))
    with pytest.raises(ValueError, match="none is left of"):
        split(digits(), train_size=5)


def test_one_sample_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="every class needs a training sample"):
        split(source([0], 2))
