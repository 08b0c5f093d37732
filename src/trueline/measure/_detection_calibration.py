"""Calibration of object detectors without bins, by Popordanoska, Tiulpin and Blaschko (2024)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, Record, Reference, check_tensors, import_optional, method, plain_chart
from trueline.measure._leave_one_out import choose_bandwidth, on_simplex, weight_rows

DETECTION = Reference(
    authors="Teodora Popordanoska, Aleksei Tiulpin, Matthew B. Blaschko",
    title="Beyond Classification: Definition and Density-Based Estimation of Calibration in Object Detection",
    venue="WACV",
    year=2024,
    arxiv="2312.06645",
)
_AVERAGED = torch.arange(10, 20, dtype=torch.float64) / 20  # 0.5, 0.55 ... 0.95


@dataclass(frozen=True, eq=False)
class DetectionCalibration(Record):
    """How far the scores of N detections are from the targets among detections that were scored alike.

    Args:
        scores: of the detections.
        targets: what each score should predict.
        frequencies: mean target around each score, without the detection itself; NaN for detections that are not
            counted: below the minimum score, or alone in their category.
        categories: numbers of the G categories with two counted detections or more.
        counts: counted detections of each.
        errors: calibration error of each.
        null_means: mean error if the targets were drawn as 0 or 1 with the scores as probabilities.
        bandwidths: of the kernel, chosen for each.
        error: mean of ``errors``.
        null_mean: mean of that mean if the scores were calibrated: what the estimate adds by itself.
        null_limit: the largest such mean in ``draws`` draws.
        alone: categories with one counted detection, which has no other to be compared with.
        minimum_score: below which detections were not counted.
        norm: the exponent r.
        draws: number of simulated sets of targets.
    """

    scores: Float[Tensor, " N"]
    targets: Float[Tensor, " N"]
    frequencies: Float[Tensor, " N"]
    categories: Int64[Tensor, " G"]
    counts: Int64[Tensor, " G"]
    errors: Float[Tensor, " G"]
    null_means: Float[Tensor, " G"]
    bandwidths: Float[Tensor, " G"]
    error: float
    null_mean: float
    null_limit: float
    alone: tuple[int, ...]
    minimum_score: float
    norm: int
    draws: int

    units: ClassVar[Mapping[str, str]] = {
        "scores": "probability",
        "targets": "probability",
        "frequencies": "probability",
        "counts": "detections",
        "errors": "probability",
        "null_means": "probability",
        "bandwidths": "1",
        "error": "probability",
        "null_mean": "probability",
        "null_limit": "probability",
        "minimum_score": "probability",
        "norm": "1",
        "draws": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"detection calibration error of {int(self.counts.sum())} detections scored at least "
            f"{self.minimum_score:g}: {self.error:.4g}, mean over {len(self.counts)} categories\n"
            f"  calibrated scores show {self.null_mean:.4g} on average and at most {self.null_limit:.4g} in "
            f"{self.draws} draws"
        ]
        lines += [
            f"  category {int(self.categories[i])}: {self.errors[i]:.4g} ({self.null_means[i]:.4g} if calibrated) of "
            f"{int(self.counts[i])} detections"
            for i in self.errors.argsort(descending=True, stable=True)[:5].tolist()
        ]
        if self.alone:
            lines.append(f"  left out, with one detection each: {', '.join(map(str, self.alone))}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the smoothed target against the score of the counted detections.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="DetectionCalibration.plot()")
        counted = self.frequencies.isfinite().nonzero().squeeze(1)
        shown = counted[torch.linspace(0, len(counted) - 1, min(len(counted), 1000)).round().long()]
        rows = [{"score": self.scores[i].item(), "target": self.frequencies[i].item()} for i in shown.tolist()]
        unit = alt.Scale(domain=[0, 1])
        x, y = alt.X("score:Q", scale=unit), alt.Y("target:Q", scale=unit, title="mean target at this score")
        ends = alt.Chart(alt.Data(values=[{"score": 0, "target": 0}, {"score": 1, "target": 1}]))
        return plain_chart(
            alt.layer(
                ends.mark_line(color=NEUTRAL, strokeDash=[4, 4], strokeWidth=1).encode(x=x, y=y),
                alt.Chart(alt.Data(values=rows)).mark_circle(color=ACCENT, size=12).encode(x=x, y=y),
            )
        )


def detection_targets(
    overlaps: Float[Tensor, " N"],
    *,
    target: Literal["identity", "threshold", "averaged"] = "identity",
    threshold: float = 0.5,
) -> Float[Tensor, " N"]:
    """Return what the score of each detection should predict.

    Args:
        overlaps: (N,) intersection over union with the matched true box in [0, 1], 0 without one, as
            :func:`match_detections` returns them.
        target: ``"identity"``: the overlap itself. ``"threshold"``: whether it is at least ``threshold``.
            ``"averaged"``: the mean of that over the thresholds 0.5, 0.55 ... 0.95.
        threshold: for ``"threshold"``, in (0, 1].

    Returns:
        (N,) targets in [0, 1], float64.

    Raises:
        ValueError: if an overlap lies outside [0, 1], or an option is not what is described above.
        TypeError: if the overlaps are not floating point.

    Example:
        >>> import torch
        >>> detection_targets(torch.tensor([0.0, 0.6, 1.0]), target="averaged").tolist()
        [0.0, 0.3, 1.0]
    """
    if target not in ("identity", "threshold", "averaged"):
        raise ValueError(f"target must be 'identity', 'threshold' or 'averaged', got {target!r}")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must lie in (0, 1], got {threshold}; 0.5 is usual")
    _check_unit(overlaps, "overlaps")
    values = overlaps.detach()
    if target == "identity":
        return values.double()
    # Thresholds are compared as the overlaps' own dtype sees them: 0.6 in float32 reaches the threshold 0.6.
    steps = _AVERAGED if target == "averaged" else torch.tensor([threshold], dtype=torch.float64)
    return (values[:, None] >= steps.to(values)).double().mean(dim=1)


@method(
    DETECTION,
    cost="N² weights over the detections of each category, five times on up to 1,000 of them for the bandwidth",
)
def detection_calibration_error(
    scores: Float[Tensor, " N"],
    targets: Float[Tensor, " N"],
    categories: Int64[Tensor, " N"],
    *,
    minimum_score: float = 0.5,
    norm: Literal[1, 2] = 1,
    bandwidth: float | None = None,
    draws: int = 20,
    generator: torch.Generator | None = None,
) -> DetectionCalibration:
    """Return the distance between scores and the mean targets among detections that were scored alike.

    In each category ``(mean_i |t_i - s_i|^r)^(1/r)`` for ``t_i = Σ_{j≠i} w_ij L_j / Σ_{j≠i} w_ij`` with targets L and
    the Beta density ``w_ij`` of :func:`kernel_calibration_error`; then the mean over the categories. All detections of
    a category are compared with each other at once, so neither their order nor their number changes what is computed.

    The estimate is positive for calibrated scores too; its value for targets drawn with the scores as probabilities is
    reported with it.

    Args:
        scores: (N,) confidences of the detections, in [0, 1].
        targets: (N,) what they should predict, in [0, 1]; see :func:`detection_targets`.
        categories: (N,) classes of the detections, int64.
        minimum_score: detections below it are not counted, in [0, 1].
        norm: the exponent r, 1 or 2.
        bandwidth: h, above zero; None for the one of 5 from 0.001 to 0.1 with the largest leave-one-out likelihood of
            the scores of each category.
        draws: number of simulated sets of targets, at least one.
        generator: source of randomness on the CPU; None for one seeded with 0.

    Returns:
        The error, its null, and both for each category, on the CPU.

    Raises:
        ValueError: if a value is not what is described above, or no category has two detections to count.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> found = detection_calibration_error(
        ...     torch.tensor([0.9, 0.6]), torch.tensor([0.8, 0.0]), torch.tensor([0, 0])
        ... )
        >>> round(found.error, 6)  # each is compared with the other: |0 - 0.9| and |0.8 - 0.6|
        0.55
    """
    _check_unit(scores, "scores")
    _check_unit(targets, "targets")
    _check_options(scores, targets, categories, minimum_score, norm, bandwidth, draws)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    kept = scores.detach().cpu() >= minimum_score
    scores, targets, categories = scores.detach().double().cpu(), targets.detach().double().cpu(), categories.cpu()
    frequencies = torch.full_like(scores, math.nan)
    found, alone = list[tuple[int, int, float, Tensor]](), list[int]()
    for category in torch.unique(categories[kept]).tolist():
        rows = (kept & (categories == category)).nonzero().squeeze(1)
        if len(rows) == 1:
            alone.append(category)
            continue
        rows = rows[scores[rows].argsort(stable=True)]  # who draws which number does not depend on the input's order
        points = on_simplex(scores[rows])
        width = choose_bandwidth(points, _grid()) if bandwidth is None else bandwidth
        drawn = torch.rand(len(rows), draws, generator=generator, dtype=torch.float64) < scores[rows, None]
        values = torch.cat([targets[rows, None], drawn.double()], dim=1)
        smoothed = torch.cat([weights @ values for _, weights in weight_rows(points, width)])
        frequencies[rows] = smoothed[:, 0]
        errors = (smoothed - scores[rows, None]).abs().pow(norm).mean(dim=0).pow(1 / norm)
        found.append((category, len(rows), width, errors))
    if not found:
        raise ValueError(
            f"expected a category with two detections scored at least {minimum_score}, got none of {len(scores)} "
            "detections; lower minimum_score"
        )
    numbers, counts, widths, columns = zip(*found, strict=True)
    errors = torch.stack(columns)
    return DetectionCalibration(
        scores=scores,
        targets=targets,
        frequencies=frequencies,
        categories=torch.tensor(numbers),
        counts=torch.tensor(counts),
        errors=errors[:, 0],
        null_means=errors[:, 1:].mean(dim=1),
        bandwidths=torch.tensor(widths, dtype=torch.float64),
        error=errors[:, 0].mean().item(),
        null_mean=errors[:, 1:].mean().item(),
        null_limit=errors[:, 1:].mean(dim=0).max().item(),
        alone=tuple(alone),
        minimum_score=minimum_score,
        norm=norm,
        draws=draws,
    )


def _grid() -> list[float]:
    grid: list[float] = torch.logspace(-3, -1, 5, dtype=torch.float64).tolist()
    return grid


def _check_unit(values: Tensor, name: str) -> None:
    check_tensors(**{name: values})
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():  # NaN is neither
        raise ValueError(f"{name} must have shape (N,) and lie in [0, 1], got shape {tuple(values.shape)}")


def _check_options(
    scores: Tensor,
    targets: Tensor,
    categories: Tensor,
    minimum_score: float,
    norm: int,
    bandwidth: float | None,
    draws: int,
) -> None:
    check_tensors(categories=categories)
    if categories.dtype != torch.int64:
        raise TypeError(f"categories must be int64 numbers, got {categories.dtype}; convert with categories.long()")
    if not scores.shape == targets.shape == categories.shape:
        raise ValueError(
            f"scores, targets and categories must have one shape (N,), got {tuple(scores.shape)}, "
            f"{tuple(targets.shape)} and {tuple(categories.shape)}"
        )
    if not 0 <= minimum_score <= 1:
        raise ValueError(f"minimum_score must lie in [0, 1], got {minimum_score}")
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm!r}")
    if bandwidth is not None and not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be a finite number above zero, got {bandwidth}; None chooses one")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
