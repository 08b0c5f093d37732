"""The calibration error with Dirichlet kernels in place of bins, by Popordanoska, Sayer and Blaschko (2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Record, Reference, check_labels, check_tensors, distribution_chart, method, read_probs
from trueline.measure._events import read_event
from trueline.measure._leave_one_out import CLAMP, bandwidth_grid, choose_bandwidth, on_simplex, weight_rows


@dataclass(frozen=True, eq=False)
class KernelCalibration(Record):
    """How far N predictions of K events are from the smoothed frequencies at the other samples.

    Args:
        scores: predicted probabilities.
        frequencies: of each event around each sample, without the sample itself.
        distances: ``Σ_k |frequency - score|^r`` of each sample for ``"canonical"``, the mean over the events
            otherwise.
        error: the calibration error, the mean of ``distances`` to the power 1/r; for ``"classwise"`` the mean over the
            events of each event's own, which is the same for r = 1.
        null_mean: mean error of a calibrated model with these predictions: what the estimate adds by itself.
        null_limit: the largest of the errors of the ``draws`` calibrated models.
        p_value: chance of an error at least as large for a calibrated model; at least ``1/(draws + 1)``.
        bandwidths: one for all events, or one for each.
        norm: the exponent r.
        draws: number of simulated sets of labels.
        event: ``"top_label"``, ``"positive"``, ``"classwise"`` or ``"canonical"``.
    """

    scores: Float[Tensor, "N K"]
    frequencies: Float[Tensor, "N K"]
    distances: Float[Tensor, " N"]
    error: float
    null_mean: float
    null_limit: float
    p_value: float
    bandwidths: tuple[float, ...]
    norm: int
    draws: int
    event: str

    units: ClassVar[Mapping[str, str]] = {
        "scores": "probability",
        "frequencies": "probability",
        "distances": "probability^norm",
        "error": "probability",
        "null_mean": "probability",
        "null_limit": "probability",
        "p_value": "probability",
        "bandwidths": "1",
        "norm": "1",
        "draws": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        low, high = min(self.bandwidths), max(self.bandwidths)
        widths = f"bandwidth {low:.3g}" if low == high else f"bandwidths {low:.3g} to {high:.3g}"
        return (
            f"kernel calibration error ({self.event}, norm {self.norm}) of {len(self.distances)} samples: "
            f"{self.error:.4g}, {widths}\n"
            f"  a calibrated model with these predictions shows {self.null_mean:.4g} on average and at most "
            f"{self.null_limit:.4g} in {self.draws} draws (p = {self.p_value:.3g})"
        )

    def plot(self) -> Any:
        """Return an Altair chart: how the distances of the samples are distributed.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.distances,
            "distance from the smoothed frequency",
            mean=self.distances.mean().item(),
            purpose="KernelCalibration.plot()",
        )


@method(
    Reference(
        authors="Teodora Popordanoska, Raphael Sayer, Matthew B. Blaschko",
        title="A Consistent and Differentiable Lp Canonical Calibration Error Estimator",
        venue="NeurIPS",
        year=2022,
        arxiv="2210.07810",
    ),
    cost="N² weights, once for all classes (canonical) or for each event, and N² additions per draw; O(N) memory",
)
def kernel_calibration_error(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    event: Literal["top_label", "positive", "classwise", "canonical"] = "canonical",
    norm: Literal[1, 2] = 1,
    bandwidth: float | None = None,
    draws: int = 20,
    generator: torch.Generator | None = None,
) -> KernelCalibration:
    """Return the distance between predictions and the frequencies among samples that were predicted alike.

    The frequency at sample i is ``Σ_{j≠i} w_ij y_j / Σ_{j≠i} w_ij`` with the density
    ``w_ij = Dirichlet(p_i; p_j/h + 1)``, for two outcomes a Beta density; probabilities enter it no nearer than 1e-7
    to 0 and 1. The error is ``(mean_i Σ_k |frequency_ik - p_ik|^r)^(1/r)``. It needs no bins and takes the whole
    vector of probabilities (``"canonical"``) as well as single events. The authors' code doubles the value of a
    single event, which counts its absence as well; this one does not.

    The estimate is positive also for a calibrated model, the more so the smaller h; so the same estimate for labels
    drawn from the predictions is reported with it.

    Args:
        labels: (N,) class numbers, int64, of two samples or more.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        event: ``"canonical"``: the class, given all C probabilities. ``"top_label"``: that the most probable class is
            right. ``"positive"``: that the label is class 1 of two. ``"classwise"``: that the label is class k, mean
            over k.
        norm: the exponent r, 1 or 2.
        bandwidth: h, above zero; None for the one of 20 from 1e-5 to 1 with the largest leave-one-out likelihood of
            the predictions, for each event its own.
        draws: number of simulated sets of labels, at least one.
        generator: source of randomness on the CPU; None for one seeded with 0.

    Returns:
        The error, its null, and the frequencies, on the CPU.

    Raises:
        ValueError: if the predictions, labels or options are not what is described above, or there is one sample.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0, 1])
        >>> found = kernel_calibration_error(labels, probs=torch.tensor([0.1, 0.7]), event="positive")
        >>> found.frequencies.flatten().tolist()  # each sample has only the other to learn from
        [1.0, 0.0]
    """
    _check_options(event, norm, bandwidth, draws, len(labels))
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    if event == "canonical" or event == "classwise":
        scores = read_probs(logits=logits, probs=probs).detach().cpu()
        check_tensors(labels=labels)
        labels = labels.cpu()
        check_labels(labels, *scores.shape)
        order = scores.amax(dim=1).argsort(stable=True)  # who draws which number must not depend on the input's order
        scores = scores[order]
        drawn = torch.multinomial(scores, draws, replacement=True, generator=generator).T
        outcomes = torch.cat([labels[order][None], drawn])
    else:
        columns, hits = read_event(labels, logits=logits, probs=probs, event=event)
        order = columns[:, 0].argsort(stable=True)
        scores = columns[order].double()
        drawn = torch.rand(draws, len(order), generator=generator, dtype=torch.float64) < scores[:, 0]
        outcomes = torch.cat([hits[order].T, drawn]).long()
    if event == "canonical":
        points = scores.clamp(CLAMP, 1 - CLAMP)
        widths = [choose_bandwidth(points, bandwidth_grid()) if bandwidth is None else bandwidth]
        frequencies, errors = _canonical(scores, points, outcomes, widths[0], norm)
        distances = (frequencies - scores).abs().pow(norm).sum(dim=1)
    else:
        widths, estimates, each = [], [], []
        for column in range(scores.shape[1]):
            points = on_simplex(scores[:, column])
            widths.append(choose_bandwidth(points, bandwidth_grid()) if bandwidth is None else bandwidth)
            targets = (outcomes == (column if event == "classwise" else 1)).double().T
            smoothed = torch.cat([weights @ targets for _, weights in weight_rows(points, widths[-1])])
            each.append((smoothed - scores[:, column, None]).abs().pow(norm).mean(dim=0).pow(1 / norm))
            estimates.append(smoothed[:, 0])
        frequencies, errors = torch.stack(estimates, dim=1), torch.stack(each).mean(dim=0)
        distances = (frequencies - scores).abs().pow(norm).mean(dim=1)
    back = order.argsort()
    null = errors[1:]
    return KernelCalibration(
        scores=scores[back],
        frequencies=frequencies[back],
        distances=distances[back],
        error=errors[0].item(),
        null_mean=null.mean().item(),
        null_limit=null.max().item(),
        p_value=(1 + int((null >= errors[0] - 1e-12).sum())) / (1 + draws),
        bandwidths=tuple(widths),
        norm=norm,
        draws=draws,
        event=event,
    )


def _canonical(
    scores: Tensor, points: Tensor, labels: Tensor, bandwidth: float, norm: int
) -> tuple[Float[Tensor, "N C"], Float[Tensor, " R"]]:
    """Return the frequencies for the first set of labels, and the error for each set."""
    totals, frequencies = torch.zeros(len(labels), dtype=torch.float64), torch.empty_like(scores)
    for rows, weights in weight_rows(points, bandwidth):
        for place, of_draw in enumerate(labels):
            found = torch.zeros_like(scores[rows]).index_add_(1, of_draw, weights)
            totals[place] += (found - scores[rows]).abs().pow(norm).sum()
            if place == 0:
                frequencies[rows] = found
    return frequencies, (totals / len(scores)).pow(1 / norm)


def _check_options(event: str, norm: int, bandwidth: float | None, draws: int, samples: int) -> None:
    if event not in ("top_label", "positive", "classwise", "canonical"):
        raise ValueError(f"event must be 'top_label', 'positive', 'classwise' or 'canonical', got {event!r}")
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm!r}")
    if bandwidth is not None and not 0 < bandwidth < torch.inf:
        raise ValueError(f"bandwidth must be a finite number above zero, got {bandwidth}; None chooses one")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if samples == 1:
        raise ValueError("expected two samples or more, got one: each is compared with the others")
