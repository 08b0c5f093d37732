"""What steering a model changed, as records that the page, the file and the command line read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trueline.numerics import Interval
from trueline.steering._options import SteeringOptions

Scores = Mapping[str, Interval]


@dataclass(frozen=True)
class CurvePoint:
    """The measures at one β, on the samples that β is chosen on.

    Args:
        beta: in [0, 1]; 1 is the model as it was.
        scores: by measure; robust accuracy and curvature are measured at some β only.
    """

    beta: float
    scores: Scores


@dataclass(frozen=True)
class Judgement:
    """The model as it was against the steered one, on test samples that no choice was made on.

    Args:
        samples: number of test samples.
        few: how many of them were attacked and measured for curvature.
        original: measures of the model as it was.
        steered: measures of the steered one.
        difference: steered minus original, paired sample by sample.
    """

    samples: int
    few: int
    original: Scores
    steered: Scores
    difference: Scores


@dataclass(frozen=True, eq=False)
class SteeringFindings:
    """Everything that steering a model found out.

    Args:
        name: what a reader calls the model.
        beta: the chosen β, or values by group.
        options: what was asked for.
        source: where model and samples come from.
        chosen_on: name of the split that β was chosen on, and its size.
        chosen: the measures at the chosen setting there.
        gain: how much better the metric of the search is there than at β = 1, paired; None without a search, and for
            measures that have no such difference.
        curve: the measures for every β there, ascending.
        judgement: on the test samples.
        audit: rows of every executed activation before and after, units by site, and calls that were missed.
        notes: what a reader must know before the numbers.
        versions: of Trueline, PyTorch and Python.
        class_names: names of the classes.
    """

    name: str
    beta: float | Mapping[str, float]
    options: SteeringOptions
    source: Mapping[str, Any]
    chosen_on: tuple[str, int]
    chosen: Scores
    gain: Interval | None
    curve: Sequence[CurvePoint]
    judgement: Judgement
    audit: Mapping[str, Any] = field(repr=False)
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    class_names: tuple[str, ...]

    @property
    def unchanged(self) -> bool:
        """Whether the model as it was is what was chosen."""
        values = self.beta.values() if isinstance(self.beta, Mapping) else [self.beta]
        return all(value == 1 for value in values) and self.options.batch_norm == "keep"

    @property
    def beta_text(self) -> str:
        """The chosen setting in words."""
        if isinstance(self.beta, Mapping):
            return ", ".join(f"{group} {value:g}" for group, value in self.beta.items())
        return f"{self.beta:g}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and text that JSON can hold; ends of intervals that are not known become None."""
        judged, (split, samples) = self.judgement, self.chosen_on
        return {
            "name": self.name,
            "beta": dict(self.beta) if isinstance(self.beta, Mapping) else self.beta,
            "source": dict(self.source),
            "options": self.options.to_dict(),
            "chosen_on": {
                "split": split,
                "samples": samples,
                "scores": _rows(self.chosen),
                "gain": None if self.gain is None else _row(self.gain),
            },
            "curve": [{"beta": point.beta, "scores": _rows(point.scores)} for point in self.curve],
            "test": {
                "samples": judged.samples,
                "attacked_and_measured": judged.few,
                "original": _rows(judged.original),
                "steered": _rows(judged.steered),
                "difference": _rows(judged.difference),
            },
            "audit": dict(self.audit),
            "notes": list(self.notes),
            "class_names": list(self.class_names),
            "versions": dict(self.versions),
        }


def _rows(scores: Scores) -> dict[str, dict[str, float | None]]:
    return {name: _row(interval) for name, interval in scores.items()}


def _row(interval: Interval) -> dict[str, float | None]:
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: end if math.isfinite(end) else None for name, end in ends.items()}
