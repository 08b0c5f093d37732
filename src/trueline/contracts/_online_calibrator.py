"""The contract of maps that are learned one label at a time, from a stream of scores."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts._checks import check_labels
from trueline.contracts._fittable import Fittable
from trueline.contracts._predictions import read_log_probs

_CLIP = 1e-5  # scores nearer to 0 or 1 are read as this far from it
_BOUND = math.log((1 - _CLIP) / _CLIP)


class Stream(ABC):
    """What an :class:`OnlineCalibrator` works with between two looks at its attributes: plain floats, no tensors."""

    @abstractmethod
    def predict(self, log_odds: float) -> float:
        """Return the probability of class 1 for the next score, and learn nothing."""

    @abstractmethod
    def update(self, log_odds: float, label: int) -> float:
        """Return that probability, then learn from the label."""

    @abstractmethod
    def learned(self) -> dict[str, Any]:
        """Return what is learned, under names that end in ``_``, as tensors, numbers and dictionaries of these."""


class OnlineCalibrator(Fittable, ABC):
    """Turns the scores of a fixed binary classifier into probabilities on a stream, and learns from every label.

    There is no fit: an object is usable from the start, and attributes that end in ``_`` exist from the first label.
    It can be saved, copied and loaded at any time, also before that. A batch is a part of the stream in its order: one
    call with N rows gives what N calls with one row give, to the bit.

    Labels that come late: keep scores and labels in a queue and call :meth:`update` in the order of the stream once a
    label is there; :meth:`predict` answers in the meantime with what is known. The guarantees of the methods are
    about the predictions that ``update`` returns.

    More than two classes: calibrate the confidence, with ``probs=confidence`` and ``labels=(prediction ==
    label).long()``, or keep one object for each class against the rest.

    A method implements :meth:`_stream`. Scores are given to it as log-odds of class 1, clipped to those of
    probabilities from 1e-5 to 1 - 1e-5, in double precision.
    """

    _needs_fit: ClassVar[bool] = False

    steps_: int
    """How many labels it has learned from."""

    @abstractmethod
    def _stream(self, learned: Mapping[str, Any]) -> Stream:
        """Return a working copy of what was learned; ``learned`` is empty before the first label."""

    def predict(
        self, *, logits: Float[Tensor, "N *C"] | None = None, probs: Float[Tensor, "N *C"] | None = None
    ) -> Float[Tensor, " N"]:
        """Return the probability of class 1 for the next score, and learn nothing.

        Args:
            logits: (N,) log-odds of class 1, or (N, 2) unnormalised scores; or None.
            probs: (N,) probabilities of class 1, or (N, 2); or None.

        Returns:
            (N,) probabilities of class 1, each as if its row were the next one, in the input's dtype.

        Raises:
            ValueError: if the scores are not what is described above.
            TypeError: if they are not floating point.
        """
        scores, given = _read(logits, probs)
        stream = self._stream(self._now())
        return given.new_tensor([stream.predict(score) for score in scores])

    def update(
        self,
        labels: Int64[Tensor, " N"],
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
    ) -> Float[Tensor, " N"]:
        """Predict each row of a part of the stream, then learn from its label, one row after the other.

        Args:
            labels: (N,) 0 or 1, int64, in the order of the stream.
            logits: (N,) log-odds of class 1, or (N, 2) unnormalised scores; or None.
            probs: (N,) probabilities of class 1, or (N, 2); or None.

        Returns:
            (N,) probabilities of class 1, each stated before its own label was seen, in the input's dtype.

        Raises:
            ValueError: if scores or labels are not what is described above; nothing is learned then.
            TypeError: if a dtype is wrong.
        """
        scores, given = _read(logits, probs)
        check_labels(labels, len(scores), 2)
        stream = self._stream(self._now())
        stated = [stream.update(score, label) for score, label in zip(scores, labels.tolist(), strict=True)]
        steps = getattr(self, "steps_", 0) + len(stated)
        for name, value in {"steps_": steps, **stream.learned()}.items():
            setattr(self, name, value)
        return given.new_tensor(stated)

    def _now(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._learned()}


def _read(logits: Tensor | None, probs: Tensor | None) -> tuple[list[float], Tensor]:
    """Return the clipped log-odds of class 1, and the tensor that was given."""
    log_probs = read_log_probs(logits=logits, probs=probs).detach()
    if log_probs.shape[1] != 2:
        raise ValueError(
            f"an online calibrator takes scores of two classes, (N,) or (N, 2), got {log_probs.shape[1]} classes; pass "
            "the confidence as probs= and whether the prediction is right as labels, or keep one object a class"
        )
    given = logits if logits is not None else probs
    assert given is not None
    odds: list[float] = (log_probs[:, 1] - log_probs[:, 0]).clamp(-_BOUND, _BOUND).tolist()
    return odds, given.detach()
