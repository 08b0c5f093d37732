"""Change of an explanation relative to that of the input, the output and the features, by Agarwal et al. (2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Record, Reference, chunks, default_generator, distribution_chart, method, run_logits
from trueline.explain._attribute import predicted
from trueline.explain._map_pairs import undefined_where
from trueline.explain._map_search import questioning
from trueline.explain._perturbed_maps import Copies, clean_maps, each_copy, gaussian
from trueline.steer import head_of

_EPSILON = 1e-6  # in the place of what would be divided by, where that is zero or less


@dataclass(frozen=True, eq=False)
class RelativeStability(Record):
    """Largest relative changes of the map; lower is more stable. The first axis of an array is the sample.

    Args:
        input: (N,) relative to the relative change of the sample; NaN where no draw keeps the predicted class, as in
            the two that follow.
        output: (N,) relative to the change of the logits.
        representation: (N,) relative to the relative change of the features; None where the model has no linear head
            that says what its features are.
        same_class: (N,) draws that keep the predicted class; the others do not count.
        target: (N,) the predicted class, which is explained.
        draws: perturbations of each sample.
        spread: their standard deviation.
        explainer: the method with its settings, as text.
    """

    input: Float[Tensor, " N"]
    output: Float[Tensor, " N"]
    representation: Float[Tensor, " N"] | None
    same_class: Int64[Tensor, " N"]
    target: Int64[Tensor, " N"]
    draws: int
    spread: float
    explainer: str

    units: ClassVar[Mapping[str, str]] = {
        "input": "1",
        "output": "1",
        "representation": "1",
        "spread": "unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        known = self.same_class > 0
        if not known.any():
            return f"no draw keeps the predicted class of any of {len(known)} samples; lower the spread"
        parts = {"the sample": self.input, "the logits": self.output, "the features": self.representation}
        medians = ", ".join(
            f"{values[known].median():.4g} to {name}" for name, values in parts.items() if values is not None
        )
        lines = [
            f"{self.explainer}: largest relative change of the map over {self.draws} perturbations, relative to that "
            f"of: {medians} (medians of {int(known.sum())} samples; lower is more stable)"
        ]
        if not known.all():
            lines.append(f"{int((~known).sum())} samples left out: no draw keeps their predicted class")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given stability relative to the input.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        title = "relative change of the map / relative change of the sample"
        return distribution_chart(self.input, title, purpose="RelativeStability.plot()")


@method(
    Reference(
        authors="Chirag Agarwal, Nari Johnson, Martin Pawelczyk, Satyapriya Krishna, Eshika Saxena, Marinka Zitnik, "
        "Himabindu Lakkaraju",
        title="Rethinking Stability for Attribution-based Explanations",
        venue="arXiv",
        year=2022,
        arxiv="2203.06877",
    ),
    cost="a map and the logits of each draw, in batches; three passes each for a gradient",
)
def relative_stability(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    *,
    explainer: Any = None,
    spread: float = 0.05,
    draws: int = 50,
    head: str | None = None,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> RelativeStability:
    """Return the largest relative change of a map, relative to how much input, logits and features change.

    ``max_m ‖(e(x) - e(x_m))/e(x)‖₂ / max(D, ε)`` over perturbed samples ``x_m = x + N(0, spread²)`` that keep the
    predicted class, with D one of ``‖(x - x_m)/x‖₂``, ``‖z(x) - z(x_m)‖₂`` for the logits z, and
    ``‖(h(x) - h(x_m))/h(x)‖₂`` for the features h that the head reads. Divisions are entry by entry, and an entry of
    zero counts as ε = 1e-6: a single one in the map dominates all others, as in ReLU features and black pixels. Compare
    only the same samples and models, by medians.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        explainer: as for :func:`attribute`; None for :class:`Gradient`.
        spread: standard deviation of each entry, in units of the inputs, above 0.
        draws: perturbations, at least 1, the same for all samples.
        head: name of the linear layer that reads the features; None for the one whose output is the model's, if any.
        chunk_size: perturbed copies at once, None for 256 or as many as there are samples; it changes the memory, not
            the answer.
        generator: draws the perturbations; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits are not finite, or a batch-norm layer has no running
            statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> relative_stability(nn.Linear(4, 3), torch.randn(5, 4), spread=1e-3).input.max().item()
        0.0
    """
    generator = default_generator(generator)
    first, maker = clean_maps(model, inputs, None, explainer, chunk_size, draws=draws)
    noise = gaussian(draws, inputs, spread, generator)
    inputs, target = inputs.detach(), first.target.to(inputs.device)
    name = _head(model, inputs, head)
    with questioning(model):
        parts = [_read(model, name, rows) for _, (rows,) in chunks(chunk_size, inputs) if rows is not None]
        logits, features = (torch.cat(each) for each in zip(*parts, strict=True))
        maps = first.maps.to(inputs.device)

        def measure(copies: Copies) -> Tensor:
            own = copies.sample
            now, seen = _read(model, name, copies.points)
            change = _relative(maps[own], maker.maps(model, copies.points, copies.target).detach())
            sizes = [
                _relative(inputs[own], copies.points),
                torch.linalg.vector_norm((logits[own] - now).double().reshape(len(own), -1), dim=1),
                _relative(features[own], seen),
            ]
            same = (predicted(now) == copies.target).double()
            return torch.stack([same, *(change / size.clamp(min=_EPSILON) for size in sizes)], dim=1)

        found = each_copy(inputs, target, noise, chunk_size, measure)
    same = found[..., 0] > 0
    count = same.sum(dim=1)
    largest = [torch.where(same, values, -torch.inf).amax(dim=1) for values in found[..., 1:].unbind(dim=2)]
    to_input, to_output, to_features = (undefined_where(values, count == 0) for values in largest)
    return RelativeStability(
        input=to_input,
        output=to_output,
        representation=None if name is None else to_features,
        same_class=count,
        target=first.target,
        draws=draws,
        spread=float(spread),
        explainer=first.explainer,
    )


def _relative(before: Tensor, after: Tensor) -> Tensor:
    """Return the length of the entry-wise relative change of each row."""
    start, end = before.flatten(1).double(), after.flatten(1).double()
    length: Tensor = torch.linalg.vector_norm((start - end) / torch.where(start == 0, _EPSILON, start), dim=1)
    return length


def _head(model: nn.Module, inputs: Tensor, given: str | None) -> str | None:
    """Return the name of the head, or None if the model has none."""
    if given is not None:
        if given not in dict(model.named_modules()):
            raise ValueError(f"head must name a module of the model, got {given!r}; see model.named_modules()")
        return given
    try:
        return head_of(model, inputs[:2])
    except ValueError:
        return None


@torch.no_grad()
def _read(model: nn.Module, head: str | None, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits, and what the head reads; nothing where there is no head."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0].detach())

    if head is None:
        return run_logits(model, points), points.new_zeros(len(points), 1)
    handle = model.get_submodule(head).register_forward_pre_hook(keep)
    try:
        logits = run_logits(model, points)
    finally:
        handle.remove()
    if not seen:
        raise ValueError(f"the head {head!r} does not run; name the linear layer whose output is the model's")
    return logits, seen[-1]
