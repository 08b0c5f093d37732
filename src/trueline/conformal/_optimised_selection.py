"""Conformal selection with the best of several models, by Bai and Jin (2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.conformal._conformal_selection import JIN, ConformalSelection, check_selection, exceeding
from trueline.conformal._false_discovery import GUARD, check_level, e_benjamini_hochberg
from trueline.contracts import Reference, method


@dataclass(frozen=True, eq=False)
class OptimisedSelection(ConformalSelection):
    """Which of M candidates were selected, and by which of L models.

    Args:
        selected: whether each candidate is.
        p_values: of each candidate, by the model chosen for it.
        level: share of unwanted candidates among the selected that is allowed on average.
        calibration: number of calibration samples.
        unwanted: how many of them are not wanted.
        model: the model chosen for each candidate.
        e_values: evidence for each candidate; the selection is made among these.
        models: L, the number of models chosen from.
        pruning: how chance took part in the selection.
    """

    model: Int64[Tensor, " M"]
    e_values: Float[Tensor, " M"]
    models: int
    pruning: str

    units: ClassVar[Mapping[str, str]] = {**ConformalSelection.units, "e_values": "1", "models": "models"}

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        counts = torch.bincount(self.model[self.selected], minlength=self.models)
        used = ", ".join(f"{i}: {number}" for i, number in enumerate(counts.tolist()) if number)
        chosen = f"  chosen among {self.models} models, {self.pruning} pruning"
        return "\n".join([super().__str__(), chosen + (f"; selected candidates by model: {used}" if used else "")])


@method(
    Reference(
        authors="Tian Bai, Ying Jin",
        title="Optimized Conformal Selection: Powerful Selective Inference After Conformity Score Optimization",
        venue="arXiv",
        year=2024,
        arxiv="2411.17983",
    ),
    JIN,
    cost="for each model one sort of the n calibration predictions and of the m candidates: O(L·(n + m) log(n + m))",
)
def optimised_selection(
    wanted: Bool[Tensor, " N"],
    calibration: Float[Tensor, "L N"],
    candidates: Float[Tensor, "L M"],
    *,
    level: float = 0.1,
    pruning: Literal["deterministic", "heterogeneous", "homogeneous"] = "deterministic",
    shrink: float = 1.0,
    generator: torch.Generator | None = None,
) -> OptimisedSelection:
    """Return which candidates to select with the best of L models, so that the choice of the model costs no validity.

    To run :func:`conformal_selection` with every model and keep the largest selection breaks its promise. Here each
    candidate j has a model of its own, chosen in a way that does not tell j from the calibration samples: the
    one that would select most if p_j were 0 and the other p-values were ``(#{i: V_i <= V_l} + 1[V_j <= V_l])/(n + 1)``.
    With R_j that size and p_j the conformal p-value by that model, ``e_j = 1[p_j <= q_j]/q_j`` for ``q_j =
    shrink·level·R_j/M`` is an e-value, and :func:`e_benjamini_hochberg` selects. Of models that tie the first is taken,
    which is as valid as to draw one. Ties of predictions count against a candidate, so that the promise holds with them
    too. With one model this is :func:`conformal_selection`.

    Args:
        wanted: (N,) whether each calibration sample has the property; use samples that no model has seen.
        calibration: (L, N) each model's predictions for them, larger means more likely wanted; models need no
            common unit.
        candidates: (L, M) each model's predictions for the candidates.
        level: the false discovery rate, in (0, 1).
        pruning: ``"deterministic"`` uses the e-values as they are; the others divide them by uniform numbers, one
            for each candidate (``"heterogeneous"``) or one for all (``"homogeneous"``), which selects more.
        shrink: multiplies R_j; below 1 it makes an e-value that is not zero larger, and fewer of them.
        generator: draws the uniform numbers; None for one seeded with 0.

    Returns:
        The selection, the p-values and the chosen models, on the device of the predictions.

    Raises:
        ValueError: if shapes differ, something is empty, a prediction is NaN, or an option is not what it should be.
        TypeError: if a dtype is wrong.

    Example:
        >>> wanted = torch.tensor([True] * 6 + [False] * 4)
        >>> noise, good = torch.zeros(10), torch.arange(10.0, 0, -1)
        >>> new = torch.tensor([[0.0, 0.0, 0.0], [11.0, 12.0, 0.5]])
        >>> found = optimised_selection(wanted, torch.stack([noise, good]), new, level=0.3)
        >>> found.selected.tolist(), found.model.tolist()
        ([True, True, False], [1, 1, 1])
    """
    check_level(level)
    check_selection(wanted, calibration, candidates)
    if calibration.ndim != 2:
        raise ValueError(f"calibration must have shape (L, N), one row a model, got {tuple(calibration.shape)}")
    if not 0 < shrink <= 1:
        raise ValueError(f"shrink must lie in (0, 1], got {shrink}")
    number = candidates.shape[1]
    counts, sizes = [], []
    for known, new in zip(calibration, candidates, strict=True):
        count = exceeding(wanted, known, new)
        counts.append(count)
        sizes.append(_auxiliary_sizes(count, new, level * (len(wanted) + 1) / number * GUARD))
    model = torch.stack(sizes).argmax(dim=0)  # the first of those that tie
    size = torch.stack(sizes).gather(0, model[None])[0]
    p_values = (1 + torch.stack(counts).gather(0, model[None])[0]).double() / (len(wanted) + 1)
    limit = shrink * level * size.double() / number
    e_values = torch.where(p_values <= limit * GUARD, 1 / limit, 0.0)
    return OptimisedSelection(
        selected=e_benjamini_hochberg(e_values / _divisors(pruning, number, generator).to(e_values.device), level),
        p_values=p_values,
        level=level,
        calibration=len(wanted),
        unwanted=int((~wanted).sum()),
        model=model,
        e_values=e_values,
        models=len(calibration),
        pruning=pruning,
    )


def _auxiliary_sizes(count: Tensor, candidates: Tensor, unit: float) -> Tensor:
    """Return for each candidate j how many would be selected if its p-value were 0 and j a calibration sample.

    With the candidates in descending order, those strictly above j keep their counts and move down a place, j takes the
    first place, and those up to j's prediction get one more. So the size follows from the last place that passes among
    the former and the last among the latter, a running maximum from each side; the k-th place passes if its count is
    at most ``unit·k``.
    """
    order = candidates.argsort(descending=True, stable=True)
    places = torch.arange(1, len(order) + 1, device=count.device)
    sorted_count = count[order]
    above = torch.where(sorted_count <= unit * (places + 1), places + 1, 0).cummax(0).values
    below = torch.where(sorted_count + 1 <= unit * places, places, 0).flip(0).cummax(0).values.flip(0)
    values = -candidates[order].double()
    first = torch.searchsorted(values, values)  # how many are strictly above
    last = torch.searchsorted(values, values, right=True)  # and with those that tie
    padded = torch.cat([above.new_zeros(1), above])
    later = torch.cat([below, below.new_zeros(1)])
    # Among ties it does not matter which is j: let it be the last of them, then a tied place before j passes only if
    # the last place of the ties does.
    tied = torch.where((last - first > 1) & (sorted_count + 1 <= unit * last), last, 1)
    sizes = torch.stack([padded[first], tied, later[last]]).amax(dim=0)
    return torch.empty_like(sizes).scatter_(0, order, sizes)


def _divisors(pruning: str, number: int, generator: torch.Generator | None) -> Tensor:
    if pruning == "deterministic":
        return torch.ones(1, dtype=torch.float64)
    if pruning not in ("heterogeneous", "homogeneous"):
        raise ValueError(f"pruning must be 'deterministic', 'heterogeneous' or 'homogeneous', got {pruning!r}")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    size = number if pruning == "heterogeneous" else 1
    drawn = torch.rand(size, generator=generator, dtype=torch.float64, device=generator.device)
    return drawn.clamp_min(torch.finfo(torch.float64).tiny)
