"""What a steered run is asked for."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from trueline.contracts import unknown_name
from trueline.measure import MEASURES, MeasureFacts
from trueline.steer import BETA_GRID, Granularity

FACTS: Mapping[str, MeasureFacts] = {
    **MEASURES,
    "robust_accuracy": MeasureFacts(
        "Robust accuracy", "points", "high", "Share of samples that stay right whatever a short attack tries."
    ),
    "normalised_curvature": MeasureFacts(
        "Normalised curvature",
        "score",
        "low",
        "Mean over samples of the curvature of the loss in the input, relative to its slope.",
    ),
}
"""Every measure that a steered run reports."""
METRICS = (*MEASURES, "robust_accuracy")


@dataclass(frozen=True, kw_only=True)
class SteeringOptions:
    """How a model is steered, and what it is judged by.

    Args:
        beta: ``"search"`` for the β that is best on held-out samples, a number in [0, 1], or values by the names of the
            groups that ``granularity`` makes.
        metric: what the search compares: a key of ``MEASURES``, or ``"robust_accuracy"``.
        granularity: which activations share one value; see :func:`trueline.steer.steer`.
        mix: weight c of the gated branch, in [0, 1], or ``"mean_preserving"``.
        scale: size of what comes in, which the width of a corner is relative to, or ``"rms"``.
        pooling: whether max-pooling is smoothed too.
        batch_norm: ``"keep"`` the running statistics, or ``"recalibrate"`` them on the samples that β is chosen on.
        radius: of the attack, the largest change of an entry in units of the inputs; None for 8/255 of images in
            [0, 1], and for no attack on other inputs.
        samples: most samples that are attacked and whose curvature is measured; 0 leaves both out.
        betas: the grid, in [0, 1]; 1 is added.
        seed: draws these samples, the random starts of the attack, and the halves of data that come without splits.
        batch_size: samples that pass at once.

    Raises:
        ValueError: if an option is out of range, or unknown, naming the nearest known one.

    Example:
        >>> SteeringOptions(metric="acuracy")
        Traceback (most recent call last):
        ValueError: unknown metric 'acuracy'; did you mean 'accuracy'? Known: accuracy, top_5_accuracy, ...
    """

    beta: float | Mapping[str, float] | str = "search"
    metric: str = "accuracy"
    granularity: str = "shared"
    mix: float | str = 0.5
    scale: float | str = 1.0
    pooling: bool = False
    batch_norm: str = "keep"
    radius: float | None = None
    samples: int = 200
    betas: tuple[float, ...] = BETA_GRID
    seed: int = 0
    batch_size: int = 256

    def __post_init__(self) -> None:
        _check_beta(self.beta, self.granularity)
        if self.metric not in METRICS:
            raise ValueError(unknown_name("metric", self.metric, METRICS))
        if self.mix != "mean_preserving" and not _within(self.mix, 0, 1):
            raise ValueError(f"mix must lie in [0, 1] or be 'mean_preserving', got {self.mix!r}")
        if self.scale != "rms" and not (isinstance(self.scale, int | float) and 0 < self.scale < math.inf):
            raise ValueError(f"scale must be above 0 or 'rms', got {self.scale!r}")
        if self.batch_norm not in ("keep", "recalibrate"):
            raise ValueError(f"batch_norm must be 'keep' or 'recalibrate', got {self.batch_norm!r}")
        if self.radius is not None and not 0 < self.radius < math.inf:
            raise ValueError(f"radius must be above 0 and finite, got {self.radius}; 8 grey levels are {8 / 255:.4f}")
        for value in self.betas:
            if not _within(value, 0, 1):
                raise ValueError(f"betas must lie in [0, 1], got {value!r}")
        if self.samples < 0 or self.batch_size < 1 or self.seed < 0:
            raise ValueError(
                "samples and seed must be at least 0 and batch_size at least 1, "
                f"got {self.samples}, {self.seed} and {self.batch_size}"
            )
        if self.metric == "robust_accuracy" and not self.samples:
            raise ValueError("metric = 'robust_accuracy' needs samples to attack; raise samples above 0")

    @property
    def searched(self) -> bool:
        """Whether β is to be found."""
        return self.beta == "search"

    @property
    def unit(self) -> dict[str, Any]:
        """What every unit is given, as keywords of :func:`trueline.steer.steer`."""
        return {"mix": self.mix, "scale": self.scale, "pooling": self.pooling}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; :meth:`from_dict` reads them back."""
        beta = dict(self.beta) if isinstance(self.beta, Mapping) else self.beta
        return {**asdict(self), "beta": beta, "betas": list(self.betas)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SteeringOptions":
        """Return the options that :meth:`to_dict` wrote.

        Args:
            values: its result.
        """
        return cls(**{**values, "betas": tuple(values["betas"])})


def _check_beta(beta: object, granularity: str) -> None:
    if granularity not in get_args(Granularity):
        raise ValueError(unknown_name("granularity", granularity, get_args(Granularity)))
    if isinstance(beta, Mapping):
        for name, value in beta.items():
            if not _within(value, 0, 1):
                raise ValueError(f"beta of {name} must lie in [0, 1], got {value!r}")
    elif beta == "search":
        if granularity != "shared":
            raise ValueError(
                f"the search finds one value for all activations; with granularity={granularity!r} name the values, "
                "such as beta={'layer1': 0.9}"
            )
    elif not _within(beta, 0, 1):
        raise ValueError(f"beta must be 'search' or lie in [0, 1], got {beta!r}; 1 is the model as it was")


def _within(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float) and low <= value <= high
