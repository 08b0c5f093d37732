"""Does the battery of probes see what is broken?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import Record, check_probe, distribution_chart, left_as_found
from trueline.probe import normalised_curvature


@dataclass(frozen=True, eq=False)
class Lengths(Record):
    lengths: Float[Tensor, " N"]
    units: ClassVar[Mapping[str, str]] = {"lengths": "unit of the logits"}

    def __str__(self) -> str:
        return f"{len(self.lengths)} lengths"

    def plot(self) -> Any:
        return distribution_chart(self.lengths, "length", purpose="Lengths.plot()")


def lengths(
    model: nn.Module, inputs: Tensor, labels: Tensor | None = None, *, chunk_size: int | None = None
) -> Lengths:
    """A probe that keeps every promise."""
    if inputs.numel() == 0 or not inputs.is_floating_point() or (chunk_size is not None and chunk_size < 1):
        raise ValueError("bad input")
    with torch.no_grad(), left_as_found(model):
        values = torch.cat([model(part) for part in inputs.split(chunk_size or len(inputs))]).double().norm(dim=1)
    if not values.isfinite().all():
        raise ValueError("not finite")
    if labels is not None and (labels.shape != inputs.shape[:1] or labels.min() < 0 or labels.max() > 1):
        raise ValueError("bad labels")
    return Lengths(values)


def problem() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 2))
    return model, torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])


def test_probes_that_keep_the_promises_pass() -> None:
    model, inputs, labels = problem()
    check_probe(lengths, model, inputs)
    check_probe(lengths, model, inputs, labels)
    check_probe(normalised_curvature, model, inputs, labels, tolerance=1e-2)


def _in_the_mode_it_is_in(model: nn.Module, inputs: Tensor) -> Lengths:
    found = lengths(model, inputs)
    return Lengths(found.lengths * (2 if model.training else 1))


def _leaves_evaluation_mode(model: nn.Module, inputs: Tensor) -> Lengths:
    found = lengths(model, inputs)
    model.train(not model.training)
    return found


def _without_tidying_after_errors(model: nn.Module, inputs: Tensor) -> Lengths:
    weight = next(model.parameters())
    weight.requires_grad_(False)
    found = lengths(model, inputs)
    weight.requires_grad_(True)
    return found


def _random(model: nn.Module, inputs: Tensor) -> Lengths:
    return Lengths(lengths(model, inputs).lengths + torch.rand(()))


def _changes_inputs(model: nn.Module, inputs: Tensor) -> Lengths:
    return lengths(model, inputs.mul_(2))


def _by_chunks(model: nn.Module, inputs: Tensor, *, chunk_size: int | None = None) -> Lengths:
    return Lengths(lengths(model, inputs, chunk_size=chunk_size).lengths / (chunk_size or 1))


def _by_place(model: nn.Module, inputs: Tensor) -> Lengths:
    return Lengths(lengths(model, inputs).lengths + torch.arange(len(inputs)))


def _relative(model: nn.Module, inputs: Tensor) -> Lengths:
    found = lengths(model, inputs).lengths
    return Lengths(found / found.max())


def _single_precision(model: nn.Module, inputs: Tensor) -> Lengths:
    return Lengths(lengths(model, inputs).lengths.float())


def _takes_anything(model: nn.Module, inputs: Tensor) -> Lengths:
    return lengths(model, inputs.nan_to_num())


def _without_unit(model: nn.Module, inputs: Tensor) -> Lengths:
    found = lengths(model, inputs)

    @dataclass(frozen=True, eq=False)
    class Bare(Lengths):
        units: ClassVar[Mapping[str, str]] = {}

    return Bare(found.lengths)


def _mean_only(model: nn.Module, inputs: Tensor) -> Lengths:
    return Lengths(lengths(model, inputs).lengths.mean()[None])


@pytest.mark.parametrize(
    ("probe", "promise"),
    [
        (_in_the_mode_it_is_in, "training and evaluation mode"),
        (_leaves_evaluation_mode, "modules and modes must be left as found"),
        (_without_tidying_after_errors, "must be left as found .after an error"),
        (_random, "random state must be left as found"),
        (_changes_inputs, "inputs and labels must be left"),
        (_by_chunks, "chunk_size must not change the answer"),
        (_by_place, "follow the order of the samples"),
        (_relative, "must not depend on the others"),
        (_single_precision, "lengths must be float64"),
        (_takes_anything, "inputs with NaN must raise"),
        (_without_unit, "must name the unit of lengths"),
        (_mean_only, "one value per sample"),
    ],
)
def test_a_broken_promise_is_named(probe: Callable[..., Record], promise: str) -> None:
    model, inputs, _ = problem()
    with pytest.raises(AssertionError, match=promise):
        check_probe(probe, model, inputs)
