"""What probing a model found, as records that the page, the file and the command line read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jaxtyping import UInt8
from torch import Tensor

from trueline.contracts import Record, Reference
from trueline.numerics import Interval
from trueline.probe import CleanAndNoisy

Kind = Literal["measured", "estimate", "bound", "if by chance"]


@dataclass(frozen=True)
class Number:
    """One number that a reader is to look at.

    Args:
        title: what it is.
        value: with its 95 % interval where it is known; minus and plus infinity where not.
        unit: such as ``"nats"``; empty for a pure number.
        kind: ``"measured"``; ``"estimate"`` where it follows from what was measured by an approximation; ``"bound"``
            where it holds for certain; ``"if by chance"`` for a baseline that knows nothing.
    """

    title: str
    value: Interval
    unit: str = ""
    kind: Kind = "measured"


@dataclass(frozen=True, eq=False)
class Sharp:
    """One of the samples with the largest values.

    Args:
        position: of the sample in its split.
        row: of the sample in the data set that the split is a part of.
        label: name of its given class.
        prediction: name of the class that the model predicts.
        value: what was measured there.
        picture: (1 or 3, H, W) pixels in 0..255; None where the inputs are no pictures.
    """

    position: int
    row: int
    label: str
    prediction: str
    value: float
    picture: UInt8[Tensor, "channels H W"] | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Exhibit:
    """One sample with pictures beside each other, such as the sample itself and maps of it.

    Args:
        title: what it is an example of.
        pictures: (1 or 3, H, W) pixels in 0..255 by their captions; may be empty.
        facts: short texts by what they are.
    """

    title: str
    pictures: Mapping[str, UInt8[Tensor, "channels H W"]] = field(repr=False)
    facts: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Measured:
    """What the functions of one probe returned, and what that says to a reader.

    Args:
        records: the results by the name of the function.
        sentences: what the numbers mean, the most useful first.
        numbers: the numbers to look at.
        per_sample: name of the values in ``ranked`` with their unit.
        sharpest: the samples with the largest values, descending; empty where there are none per sample.
        split: means of the same values where labels are right and wrong; None where none is known to be wrong.
        notes: what a reader must know about how it was measured.
        exhibits: samples to look at.
        titles: headings of the charts of ``records``, for functions that are not of ``trueline.probe``.
    """

    records: Mapping[str, Record]
    sentences: tuple[str, ...]
    numbers: tuple[Number, ...]
    per_sample: str = ""
    sharpest: tuple[Sharp, ...] = ()
    split: CleanAndNoisy | None = None
    notes: tuple[str, ...] = ()
    exhibits: tuple[Exhibit, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Probed:
    """One probe of a model: what it found, or why it found nothing.

    Args:
        name: its key in the catalogue.
        title: what a reader calls it.
        question: what it answers.
        found: the result; None without one.
        reason: why there is no result; empty with one.
        failed: whether that is because of an error.
        split: name of the samples; empty where none are used.
        counts: what ``used`` and ``wanted`` count: ``"samples"`` or ``"regions"``; empty where nothing is counted.
        used: how many were measured.
        wanted: how many would have been without a limit in time.
        available: samples in the split.
        seconds: that it took, with everything that was tried for it.
        references: where its functions were published.
        told: whether the verdict repeats its first sentence.
    """

    name: str
    title: str
    question: str
    found: Measured | None
    reason: str
    failed: bool
    split: str
    counts: str
    used: int
    wanted: int
    available: int
    seconds: float
    references: tuple[Reference, ...]
    told: bool = False

    @property
    def shortened(self) -> bool:
        """Whether the limit in time left fewer than were wanted."""
        return self.found is not None and self.used < self.wanted

    @property
    def basis(self) -> str:
        """What it was measured on, in words."""
        if self.found is None or not self.counts:
            return "the weights" if self.found is not None else ""
        if self.counts == "regions":
            return (
                "3 samples" if not (self.shortened and self.found.notes) else "3 samples, a smaller plane to save time"
            )
        more = f", {self.wanted:,} were wanted" if self.shortened else ""
        return f"{self.used:,} of {self.available:,} {_NAMES.get(self.split, self.split)} samples{more}"


_NAMES = {"train": "training", "": ""}


@dataclass(frozen=True, eq=False)
class ProbingFindings:
    """Everything that probing a model found out.

    Args:
        name: what a reader calls the model.
        probes: one entry for each probe that was asked for, in the order in which they ran.
        source: where model and samples come from.
        seed: that chose samples and directions.
        minutes: the limit in time; None without.
        seconds: that everything took.
        notes: what a reader must know before the numbers.
        class_names: names of the classes.
        versions: of Trueline, PyTorch and Python.
    """

    name: str
    probes: tuple[Probed, ...]
    source: Mapping[str, Any]
    seed: int
    minutes: float | None
    seconds: float
    notes: tuple[str, ...]
    class_names: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def measured(self) -> tuple[Probed, ...]:
        """The probes that found something."""
        return tuple(probe for probe in self.probes if probe.found is not None)

    @property
    def left_out(self) -> tuple[Probed, ...]:
        """The probes that did not, each with its reason."""
        return tuple(probe for probe in self.probes if probe.found is None)

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references of what was measured, each once, in order of first use."""
        return tuple(dict.fromkeys(reference for probe in self.measured for reference in probe.references))

    def __getitem__(self, name: str) -> Measured:
        """Return what one probe found.

        Args:
            name: its key in the catalogue.

        Raises:
            KeyError: if it was not asked for, or found nothing; the message says why.
        """
        for probe in self.probes:
            if probe.name == name:
                if probe.found is None:
                    raise KeyError(f"{name} found nothing: {probe.reason}")
                return probe.found
        raise KeyError(f"{name} was not asked for; measured: {', '.join(probe.name for probe in self.measured)}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and text that JSON can hold; what is not finite becomes None."""
        return {
            "name": self.name,
            "source": dict(self.source),
            "seed": self.seed,
            "minutes": self.minutes,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "probes": [_probed(probe) for probe in self.probes],
            "class_names": list(self.class_names),
            "references": [str(reference) for reference in self.references],
            "versions": dict(self.versions),
        }


def _probed(probe: Probed) -> dict[str, Any]:
    about = {
        "name": probe.name,
        "title": probe.title,
        "question": probe.question,
        "measured": probe.found is not None,
        "reason": probe.reason,
        "failed": probe.failed,
        "split": probe.split,
        "counts": probe.counts,
        "used": probe.used,
        "wanted": probe.wanted,
        "available": probe.available,
        "seconds": probe.seconds,
    }
    if (found := probe.found) is None:
        return about
    split = found.split
    return about | {
        "sentences": list(found.sentences),
        "notes": list(found.notes),
        "numbers": [{"title": n.title, "unit": n.unit, "kind": n.kind, **_ends(n.value)} for n in found.numbers],
        "per_sample": found.per_sample,
        "sharpest": [
            {
                "position": s.position,
                "row": s.row,
                "label": s.label,
                "prediction": s.prediction,
                "value": _finite(s.value),
            }
            for s in found.sharpest
        ],
        "right_and_wrong_labels": None
        if split is None
        else {
            name: None if part is None else _ends(part)
            for name, part in (("right", split.clean), ("wrong", split.noisy), ("difference", split.difference))
        },
        "exhibits": [{"title": exhibit.title, "facts": dict(exhibit.facts)} for exhibit in found.exhibits],
        "records": {name: record.to_dict() for name, record in found.records.items()},
    }


def _ends(interval: Interval) -> dict[str, float | None]:
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: _finite(end) for name, end in ends.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
