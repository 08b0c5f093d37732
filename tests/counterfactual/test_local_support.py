"""Local support: radii and thresholds against plain loops, self-exclusion, classes of too few examples, bad input."""

import math
from typing import Any

import pytest
import torch
from oracles import counterfactual as slow

from trueline.counterfactual._local_support import LocalSupport


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("k", "quantile"), [(1, 0.5), (4, 0.9), (7, 1.0)])
def test_radii_and_thresholds_are_those_of_plain_loops(k: int, quantile: float) -> None:
    reference, labels, z = drawn(45, 4), torch.arange(45) % 4, drawn(12, 4, seed=1)
    support = LocalSupport(reference, labels, k=k, quantile=quantile)
    classes = torch.arange(12) % 4
    exclude = torch.arange(12) * 3 - 1
    plain = [slow.radius(p, reference, labels, c, k) for p, c in zip(z, classes.tolist(), strict=True)]
    torch.testing.assert_close(support.radius(z, classes), torch.tensor(plain, dtype=torch.float64))
    apart = [
        slow.radius(p, reference, labels, c, k, i)
        for p, c, i in zip(z, classes.tolist(), exclude.tolist(), strict=True)
    ]
    torch.testing.assert_close(support.radius(z, classes, exclude=exclude), torch.tensor(apart, dtype=torch.float64))
    thresholds = [slow.threshold(reference, labels, c, k, quantile) for c in range(4)]
    torch.testing.assert_close(support.thresholds, torch.tensor(thresholds, dtype=torch.float64))
    means = torch.stack(
        [
            slow.nearest_mean(p, reference, labels, c, k, i)
            for p, c, i in zip(z, classes.tolist(), exclude.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(support.pull(z, classes, exclude=exclude), means - z)


def test_the_scale_is_the_root_mean_square_distance_of_two_examples() -> None:
    reference = drawn(30, 3)
    support = LocalSupport(reference, torch.zeros(30, dtype=torch.int64), k=3)
    pairs = torch.pdist(reference).square().mean().sqrt().item()
    assert support.scale == pytest.approx(pairs, rel=1e-12)


def test_with_quantile_one_every_reference_example_is_supported_as_its_own_class() -> None:
    reference, labels = drawn(60, 5), torch.arange(60) % 3
    rows = torch.arange(60)
    everyone = LocalSupport(reference, labels, k=5, quantile=1.0).supported(reference, labels, exclude=rows)
    assert everyone.all()
    half = LocalSupport(reference, labels, k=5, quantile=0.5).supported(reference, labels, exclude=rows)
    assert half.sum() == 30


def test_an_example_is_no_support_of_itself() -> None:
    line = torch.tensor([[0.0], [1.0], [5.0]])
    support = LocalSupport(line, torch.zeros(3, dtype=torch.int64), k=1)
    zero = torch.zeros(1, dtype=torch.int64)
    assert support.radius(line[:1], zero).item() == 0
    assert support.radius(line[:1], zero, exclude=zero).item() == 1
    assert [each.item() for each in support.nearest(line[:1], zero, exclude=zero)] == [1, 1.0]
    assert [each.item() for each in support.nearest(line[:1], zero, exclude=zero - 1)] == [0, 0.0]


def test_classes_of_too_few_examples_support_nothing() -> None:
    reference = drawn(14, 2)
    labels = torch.tensor([0] * 8 + [1] * 4 + [3] * 2)
    support = LocalSupport(reference, labels, k=4)
    z, classes = reference[:1].expand(6, 2), torch.tensor([0, 1, 2, 3, 4, 9])
    radius = support.radius(z, classes)
    assert radius.isfinite().tolist() == [True, True, False, False, False, False]
    assert support.thresholds.isfinite().tolist() == [True, False, False, False]
    assert support.threshold(classes)[1:].tolist() == [-math.inf] * 5
    assert not support.supported(z, classes)[1:].any()
    row, distance = support.nearest(z, classes)
    assert row[[2, 4, 5]].tolist() == [-1, -1, -1]
    assert distance[[2, 4, 5]].tolist() == [math.inf] * 3
    assert row[3] >= 12
    pull = support.pull(z, classes)
    assert not pull[[2, 4, 5]].any()
    torch.testing.assert_close(pull[3], reference[12:].mean(dim=0) - z[0])  # of all there are


def test_large_offsets_cost_no_digits() -> None:
    reference, labels, z = drawn(40, 3), torch.arange(40) % 2, drawn(5, 3, seed=1)
    classes = torch.tensor([0, 1, 0, 1, 0])
    near = LocalSupport(reference, labels, k=3).radius(z, classes)
    far = LocalSupport(reference + 1e6, labels, k=3).radius(z + 1e6, classes)
    torch.testing.assert_close(far, near, rtol=1e-9, atol=0)


def test_images_are_flattened() -> None:
    reference, labels = drawn(20, 1, 3, 3), torch.zeros(20, dtype=torch.int64)
    support = LocalSupport(reference, labels, k=3)
    flat = LocalSupport(reference.flatten(1), labels, k=3)
    classes = torch.zeros(4, dtype=torch.int64)
    z = drawn(4, 1, 3, 3, seed=1)
    assert torch.equal(support.radius(z, classes), flat.radius(z.flatten(1), classes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reference": torch.zeros(0, 2)}, "reference must have shape"),
        ({"reference": torch.full((30, 2), math.nan)}, "reference must be finite, but example 0"),
        ({"reference": torch.ones(30, 2)}, "all the same"),
        ({"labels": torch.zeros(29, dtype=torch.int64)}, r"labels must have shape \(30,\)"),
        ({"labels": torch.full((30,), -1)}, "labels must be at least 0, got -1"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"k": 30}, "a class with more than 30 reference examples, the largest has 30"),
        ({"quantile": 0.0}, r"quantile must lie in \(0, 1\]"),
        ({"quantile": 1.1}, "quantile must lie in"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    arguments = {"reference": torch.rand(30, 2), "labels": torch.zeros(30, dtype=torch.int64), **change}
    with pytest.raises((ValueError, TypeError)) as error:
        LocalSupport(**arguments)
    if isinstance(error.value, ValueError):
        error.match(words)
    else:  # the suite's type checker comes first where the shapes contradict each other
        assert "labels" in change or len(change["reference"]) == 0


def test_wrong_types_and_points_of_another_space_are_refused() -> None:
    zeros = torch.zeros(30, dtype=torch.int64)
    for reference, labels in ((torch.ones(30, 2, dtype=torch.int64), zeros), (torch.rand(30, 2), zeros.float())):
        with pytest.raises(TypeError):
            LocalSupport(reference, labels)
    support = LocalSupport(torch.rand(30, 2), zeros)
    with pytest.raises(ValueError, match=r"the 2 entries of a reference example, \(2,\), got \(1, 3\)"):
        support.radius(torch.zeros(1, 3), zeros[:1])
    with pytest.raises(ValueError, match="exclude must hold rows of the 30 reference examples"):
        support.radius(torch.zeros(1, 2), zeros[:1], exclude=zeros[:1] + 30)
