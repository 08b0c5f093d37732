"""Level-set boosting for multicalibration, by Globus-Harris, Harrison, Kearns, Roth and Sorrell (2023)."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._boosting_history import BoostingHistory
from trueline.calibrate._least_squares import check_rows
from trueline.calibrate._multicalibration_error import MULTICALIBRATION, multicalibration_error, to_level
from trueline.contracts import Fittable, check_tensors, method


@runtime_checkable
class Regressor(Protocol):
    """What learns targets from inputs, as in scikit-learn."""

    def fit(self, inputs: Any, targets: Any) -> Any:
        """Learn."""

    def predict(self, inputs: Any) -> Any:
        """Return one prediction for each row of the inputs."""


@method(MULTICALIBRATION, cost="one fit of the regressor for each level set and round")
class LevelSetBoosting(Fittable):
    """Corrects predictions until no regressor finds anything left to correct among samples predicted alike.

    Predictions are rounded to the nearest of 0, 1/m ... 1. In each round a regressor is fitted to the targets of each
    level set of the rounded predictions, and what it predicts, cut to [0, 1] and rounded, are the predictions of the
    next round. A round that lowers the mean squared error of the fitted samples by less than ``tolerance`` ends it and
    is dropped. With validation samples a level set is changed only if that lowers the error of their rounded
    predictions in it below ``1 - shrinkage`` of what it was, and it ends when none is.

    With the tolerance α/(2B) and 2B/α levels, for B a bound on the squares of the regressors, every regressor h then
    has ``K_2(f, h) <= α``, see :func:`multicalibration_error`; the default tolerance, for the few levels that samples
    can fill, is ours. Rounding changes the error by up to 1/(4m²) plus what it correlates with, so the error may rise
    in a round. Small level sets are overfitted: raise ``smallest`` or give validation samples.

    Args:
        regressor: what is fitted to each level set: an object with ``fit(inputs, targets)`` and ``predict(inputs)``,
            copied anew for each fit, or a function without arguments that makes one. :class:`LeastSquares`,
            :class:`Stump` and other fittable objects get tensors, and let the result be saved; others, such as
            those of scikit-learn, get NumPy arrays, and do not.
        levels: m, at least one.
        rounds: most rounds, at least zero.
        smallest: samples that a level set must have to be changed, at least one.
        tolerance: least fall of the error that makes a round worth while; a negative one never ends it. Not used with
            validation samples.
        shrinkage: least relative fall of a level set's validation error, in [0, 1).
        final_rounding: whether predictions are rounded to the levels also after the last round.

    Attributes:
        rounds_: the regressors of each round by level.
        start_: the prediction that all samples start from, where none were given.
        stopped_: why there is no further round.

    Example:
        >>> import torch
        >>> from trueline.calibrate import LeastSquares
        >>> inputs = torch.linspace(0, 1, 50)[:, None]
        >>> targets = 0.2 + 0.5 * inputs[:, 0]
        >>> boosting = LevelSetBoosting(LeastSquares()).fit(inputs, targets)
        >>> boosting.predict(torch.tensor([[0.5]])).round(decimals=3)
        tensor([0.4500], dtype=torch.float64)
    """

    rounds_: list[dict[str, Regressor]]
    start_: float | None
    stopped_: str
    updated_: Int64[Tensor, " T"]
    training_error_: Float[Tensor, " T1"]
    validation_error_: Float[Tensor, " T1"] | None
    multicalibration_: Float[Tensor, "T1 F"] | None

    def __init__(
        self,
        regressor: Any,
        *,
        levels: int = 10,
        rounds: int = 100,
        smallest: int = 10,
        tolerance: float = 1e-4,
        shrinkage: float = 0.1,
        final_rounding: bool = False,
    ) -> None:
        if levels < 1 or rounds < 0 or smallest < 1:
            raise ValueError(
                f"expected levels >= 1, rounds >= 0 and smallest >= 1, got {levels}, {rounds} and {smallest}"
            )
        if math.isnan(tolerance) or not 0 <= shrinkage < 1:
            raise ValueError(f"tolerance must be a number and shrinkage in [0, 1), got {tolerance} and {shrinkage}")
        if isinstance(regressor, type):
            raise TypeError(f"regressor must be an object such as Stump(), got the class {regressor.__name__}")
        if not callable(regressor) and not isinstance(regressor, Regressor):
            raise ValueError(f"regressor must have fit and predict, or be a function that makes one, got {regressor!r}")
        self.regressor, self.levels, self.rounds, self.smallest = regressor, levels, rounds, smallest
        self.tolerance, self.shrinkage, self.final_rounding = tolerance, shrinkage, final_rounding

    def fit(
        self,
        inputs: Float[Tensor, "N D"],
        targets: Float[Tensor, " N"],
        *,
        start: Float[Tensor, " N"] | None = None,
        validation: tuple[Float[Tensor, "V D"], Float[Tensor, " V"]] | None = None,
        validation_start: Float[Tensor, " V"] | None = None,
        functions: Float[Tensor, "N F"] | None = None,
    ) -> "LevelSetBoosting":
        """Learn the rounds; an earlier fit is forgotten.

        Args:
            inputs: (N, D) features that the regressors see.
            targets: (N,) what to predict, scaled to [0, 1].
            start: (N,) predictions to correct, in [0, 1]; None to start from the mean target.
            validation: inputs (V, D) and targets (V,) of samples that decide which changes are kept; or None.
            validation_start: (V,) their predictions; given if and only if ``start`` and ``validation`` are.
            functions: (N, F) values of test functions, of which the history then tells the ``K_2``; or None.

        Returns:
            Itself.

        Raises:
            ValueError: if shapes do not fit, a value is not finite, or targets or predictions leave [0, 1].
            TypeError: if a dtype is wrong.
        """
        x, y, f = self._read(inputs, targets, start)
        if validation is None and validation_start is not None:
            raise ValueError("validation_start needs validation=(inputs, targets) as well")
        if validation is not None and (start is None) != (validation_start is None):
            raise ValueError("start and validation_start belong together: give both or neither")
        with self._learning():
            self.start_ = y.mean().item() if start is None else None
            f = torch.full_like(y, y.mean().item()) if f is None else f
            held = None
            if validation is not None:
                vx, vy, vf = self._read(*validation, validation_start)
                held = vx, vy, torch.full_like(vy, self.start_ or 0.0) if vf is None else vf
            self._boost(x, y, f, held, functions)
        return self

    def predict(self, inputs: Float[Tensor, "N D"], *, start: Float[Tensor, " N"] | None = None) -> Float[Tensor, " N"]:
        """Return the corrected predictions.

        Args:
            inputs: (N, D) features.
            start: (N,) the predictions to correct, in [0, 1]; given if and only if they were to ``fit``.

        Returns:
            (N,) predictions in [0, 1], float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if shapes do not fit, or ``start`` is missing or superfluous.
        """
        self._check_fitted()
        if (start is None) != (self.start_ is not None):
            raise ValueError(
                f"start must be {'left out' if self.start_ is not None else 'given'}, as it was for fit, got {start!r}"
            )
        check_rows(inputs)
        x = inputs.detach().double()
        f = x.new_full((len(x),), self.start_ or 0.0) if start is None else _unit(start, "start", len(x))
        for regressors in self.rounds_:
            level = to_level(f, self.levels)
            f = level.double() / self.levels
            for name, regressor in regressors.items():
                own = level == int(name)
                if own.any():
                    f[own] = _predicted(regressor, x[own])
        return to_level(f, self.levels).double() / self.levels if self.final_rounding else f

    def history(self) -> BoostingHistory:
        """Return the errors before the first and after each round.

        Raises:
            RuntimeError: if the object is not fitted.
        """
        self._check_fitted()
        return BoostingHistory(
            training_error=self.training_error_,
            validation_error=self.validation_error_,
            updated=self.updated_,
            multicalibration=self.multicalibration_,
            stopped=self.stopped_,
        )

    def _boost(
        self, x: Tensor, y: Tensor, f: Tensor, held: tuple[Tensor, Tensor, Tensor] | None, functions: Tensor | None
    ) -> None:
        rounds, updated = list[dict[str, Regressor]](), list[int]()
        training, validation, functional = list[float](), list[float](), list[Tensor]()

        def note() -> None:
            training.append(self._error(y, f))
            if held is not None:
                validation.append(self._error(held[1], held[2]))
            if functions is not None:
                functional.append(multicalibration_error(y, f, functions.double(), levels=self.levels).errors)

        note()
        stopped = f"all {self.rounds} rounds were used"
        while len(rounds) < self.rounds:
            regressors, proposal, proposed = self._round(x, y, f, held)
            if not regressors:
                stopped = "no change helped the validation samples" if held else "no level set had enough samples"
                break
            if held is None and training[-1] - self._error(y, proposal) < self.tolerance:
                stopped = f"a round lowered the error by less than {self.tolerance:g}"
                break
            f = proposal
            if held is not None and proposed is not None:
                held = (held[0], held[1], proposed)
            rounds.append(regressors)
            updated.append(len(regressors))
            note()
        self.rounds_, self.stopped_ = rounds, stopped
        self.updated_ = torch.tensor(updated, dtype=torch.int64)
        self.training_error_ = torch.tensor(training, dtype=torch.float64)
        self.validation_error_ = torch.tensor(validation, dtype=torch.float64) if validation else None
        self.multicalibration_ = torch.stack(functional) if functional else None

    def _round(
        self, x: Tensor, y: Tensor, f: Tensor, held: tuple[Tensor, Tensor, Tensor] | None
    ) -> tuple[dict[str, Regressor], Tensor, Tensor | None]:
        """Return the regressors by level, and the predictions after them."""
        level = to_level(f, self.levels)
        proposal, proposed = level.double() / self.levels, None
        held_level = level[:0]
        if held is not None:
            held_level = to_level(held[2], self.levels)
            proposed = held_level.double() / self.levels
        regressors = dict[str, Regressor]()
        for v in torch.unique(level).tolist():
            own = level == v
            if int(own.sum()) < self.smallest:
                continue
            regressor = _fitted(self.regressor, x[own], y[own])
            if held is not None and proposed is not None:
                rows = held_level == v
                if not rows.any():
                    continue
                better = _predicted(regressor, held[0][rows])
                # Rounded ones are compared: else a set whose rounding is undone each round would be mended for ever.
                before, after = (self._error(held[1][rows], p) for p in (proposed[rows], better))
                if not after < (1 - self.shrinkage) * before:
                    continue
                proposed[rows] = better
            proposal[own] = _predicted(regressor, x[own])
            regressors[str(v)] = regressor
        return regressors, proposal, proposed

    def _error(self, targets: Tensor, predictions: Tensor) -> float:
        return (to_level(predictions, self.levels).double() / self.levels - targets).square().mean().item()

    def _read(self, inputs: Tensor, targets: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        check_rows(inputs, targets)
        y = _unit(targets, "targets", len(inputs))
        return inputs.detach().double(), y, None if start is None else _unit(start, "start", len(inputs))


def _unit(values: Tensor, name: str, samples: int) -> Float[Tensor, " N"]:
    check_tensors(**{name: values})
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.double()")
    if values.shape != (samples,) or not ((values >= 0) & (values <= 1)).all():  # NaN is neither
        raise ValueError(
            f"{name} must have shape ({samples},) and lie in [0, 1], got shape {tuple(values.shape)}; scale what has "
            "another range, and the predictions back"
        )
    return values.detach().double().clone()


def _fitted(regressor: Any, inputs: Tensor, targets: Tensor) -> Regressor:
    make: Callable[[], Any] = regressor if callable(regressor) else partial(copy.deepcopy, regressor)
    if isinstance(regressor, Fittable):
        make = regressor.unfitted
    made: Regressor = make()
    made.fit(*_given(made, inputs, targets))
    return made


def _predicted(regressor: Regressor, inputs: Tensor) -> Float[Tensor, " N"]:
    found = torch.as_tensor(regressor.predict(*_given(regressor, inputs)), device=inputs.device).double()
    if found.numel() != len(inputs) or not found.isfinite().all():
        raise ValueError(
            f"{type(regressor).__name__}.predict must return one finite number for each of {len(inputs)} samples, "
            f"got shape {tuple(found.shape)}"
        )
    return found.reshape(-1).clamp(0, 1)


def _given(regressor: Any, *values: Tensor) -> list[Any]:
    """Return tensors for fittable objects, and arrays for all others."""
    return [each if isinstance(regressor, Fittable) else each.cpu().numpy() for each in values]
