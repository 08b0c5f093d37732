"""A calibrator that chooses among others by cross-validated log loss, the simplest of those that are about as good."""

import math
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._beta import BetaCalibration
from trueline.calibrate._calibrator_choice import CalibratorChoice
from trueline.calibrate._cross_validation import Folds, deal, held_out_scores
from trueline.calibrate._ensemble_temperature import EnsembleTemperatureScaling
from trueline.calibrate._fit_warnings import counted_rows, few_rows
from trueline.calibrate._identity import Identity
from trueline.calibrate._platt import PlattScaling
from trueline.calibrate._quadratic import QuadraticScaling
from trueline.calibrate._structured_matrix_scaling import StructuredMatrixScaling
from trueline.calibrate._structured_vector_scaling import StructuredVectorScaling
from trueline.calibrate._temperature import TemperatureScaling
from trueline.contracts import Calibrator, Reference, method

_MATRIX_CLASSES = 200  # with more classes a matrix takes long, so only a caller who wants it tries one
_TIE = 1e-9  # nats that are no difference but rounding


@method(
    Reference(
        authors="Leo Breiman, Jerome H. Friedman, Richard A. Olshen, Charles J. Stone",
        title="Classification and Regression Trees",
        venue="Wadsworth",
        year=1984,
    ),
    cost="one fit of each candidate for each fold, and one of the chosen",
)
class AutomaticCalibration(Calibrator):
    """Chooses the simplest of several maps whose cross-validated log loss is about as good as the best.

    Simplest means that it learns the fewest numbers; about as good, that its mean log loss on held-out samples exceeds
    the smallest by at most ``margin`` standard errors of that difference, which is paired sample by sample. This is
    the one-standard-error rule of Breiman and others (1984), which chose the size of a tree by it. A map
    with fewer than ten samples for each number that it learns is left out, and so is one with a penalty and fewer
    than fifty samples for each class. Folds are drawn with a fixed seed, whatever the order of the samples.

    Args:
        candidates: calibrators to choose from, or None for :class:`Identity`, :class:`TemperatureScaling`,
            :class:`EnsembleTemperatureScaling`, :class:`StructuredVectorScaling`, for up to 200 classes
            :class:`StructuredMatrixScaling`, and for two classes :class:`PlattScaling`, :class:`BetaCalibration` and
            :class:`QuadraticScaling`.
        folds: folds of the cross-validation, at least two.
        margin: standard errors by which a simpler map may be worse, at least zero.

    Attributes:
        calibrator_: the chosen map, fitted to all samples.
        choice_: a dictionary for each candidate: ``name``, ``log_loss``, ``difference``, ``standard_error``,
            ``accuracy``, ``parameters``, ``left_out`` and ``chosen``; :meth:`choice` shows it.
        folds_: the folds used; 0 where the samples are too few for any.

    Raises:
        ValueError: if an option is out of range.
        TypeError: if a candidate is not a calibrator.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[4.0, 0.0]] * 100 + [[0.0, 4.0]] * 100)
        >>> labels = torch.tensor([0] * 75 + [1] * 25 + [0] * 25 + [1] * 75)
        >>> automatic = AutomaticCalibration().fit(labels, logits=logits)
        >>> automatic.calibrator_
        TemperatureScaling()
        >>> round(automatic.predict_proba(logits=logits)[0, 0].item(), 3)
        0.75
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = False
    calibrator_: Calibrator
    choice_: list[dict[str, Any]]
    folds_: int

    def __init__(
        self, candidates: tuple[Calibrator, ...] | None = None, *, folds: int = 5, margin: float = 1.0
    ) -> None:
        if candidates is not None:
            if len(candidates) == 0:
                raise ValueError("candidates must hold at least one calibrator, got none; pass None for the usual ones")
            for candidate in candidates:
                if not isinstance(candidate, Calibrator):
                    raise TypeError(f"candidates must be objects such as TemperatureScaling(), got {candidate!r}")
        if folds < 2:
            raise ValueError(f"folds must be at least 2, got {folds}")
        if not 0 <= margin < math.inf:
            raise ValueError(f"margin must be finite and at least 0, a number of standard errors, got {margin}")
        self.candidates = candidates
        self.folds = folds
        self.margin = margin

    def n_parameters(self, num_classes: int) -> None:
        """Return None: it depends on which map is chosen."""
        return

    def choice(self) -> CalibratorChoice:
        """Return the scores of the candidates as a record that says what they mean and draws them.

        Raises:
            RuntimeError: if the object is not fitted.
        """
        self._check_fitted()
        return CalibratorChoice(
            **{name: _column(self.choice_, name) for name in ("log_loss", "difference", "standard_error", "accuracy")},
            names=tuple(row["name"] for row in self.choice_),
            parameters=tuple(row["parameters"] for row in self.choice_),
            left_out=tuple(row["left_out"] for row in self.choice_),
            chosen=next(place for place, row in enumerate(self.choice_) if row["chosen"]),
            margin=self.margin,
            folds=self.folds_,
        )

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        num_classes, rows = log_probs.shape[1], counted_rows(labels, weight)
        candidates = _usual(num_classes) if self.candidates is None else self.candidates
        reasons = [few_rows(candidate, rows, num_classes) for candidate in candidates]
        compared = [place for place, reason in enumerate(reasons) if reason is None]
        table = [_row(candidate, num_classes, reason) for candidate, reason in zip(candidates, reasons, strict=True)]
        if not compared:
            raise ValueError(
                f"there are too few samples for any candidate: {reasons[0]}; fit to more, or add Identity()"
            )
        folds = deal(log_probs, labels, weight, self.folds) if len(compared) > 1 else None
        if folds is not None:
            _score(table, [(place, candidates[place]) for place in compared], log_probs, labels, folds)
            compared = [
                place
                for place in compared
                if table[place]["difference"] <= self.margin * table[place]["standard_error"] + _TIE
            ]
        chosen = min(compared, key=lambda place: _size(table[place]))
        table[chosen]["chosen"] = True
        self.calibrator_ = candidates[chosen].unfitted().fit(labels, logits=log_probs, weight=weight)
        self.choice_ = table
        self.folds_ = 0 if folds is None else len(folds.weight)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return self.calibrator_._map(log_probs)


def _usual(num_classes: int) -> tuple[Calibrator, ...]:
    candidates: list[Calibrator] = [
        Identity(),
        TemperatureScaling(),
        EnsembleTemperatureScaling(),
        StructuredVectorScaling(),
    ]
    if num_classes <= _MATRIX_CLASSES:
        candidates.append(StructuredMatrixScaling())
    if num_classes == 2:
        candidates += [PlattScaling(), BetaCalibration(), QuadraticScaling()]
    return tuple(candidates)


def _row(candidate: Calibrator, num_classes: int, reason: str | None) -> dict[str, Any]:
    return {
        "name": repr(candidate).removesuffix("()"),
        "log_loss": None,
        "difference": None,
        "standard_error": None,
        "accuracy": None,
        "parameters": candidate.n_parameters(num_classes),
        "left_out": reason,
        "chosen": False,
    }


def _score(
    table: list[dict[str, Any]],
    compared: list[tuple[int, Calibrator]],
    log_probs: Tensor,
    labels: Tensor,
    folds: Folds,
) -> None:
    """Fill in the scores of the candidates that are compared."""
    losses = {}
    for place, candidate in compared:
        losses[place], hits = held_out_scores(candidate, log_probs, labels, folds)
        table[place]["log_loss"] = folds.mean(losses[place])
        table[place]["accuracy"] = folds.mean(hits.double())
    best = min(losses, key=lambda place: (table[place]["log_loss"], _size(table[place])))
    for place, loss in losses.items():
        table[place]["difference"] = table[place]["log_loss"] - table[best]["log_loss"]
        table[place]["standard_error"] = folds.standard_error(loss - losses[best])


def _size(row: dict[str, Any]) -> float:
    return math.inf if row["parameters"] is None else float(row["parameters"])


def _column(table: list[dict[str, Any]], name: str) -> Tensor:
    values = [math.nan if row[name] is None else row[name] for row in table]
    return torch.tensor(values, dtype=torch.float64)
