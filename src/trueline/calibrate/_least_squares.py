"""Linear least squares, as a regressor that boosting can fit and a file can hold."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Fittable, Reference, check_tensors, method


def check_rows(inputs: Float[Tensor, "N D"], targets: Float[Tensor, " N"] | None = None) -> None:
    """Refuse inputs and targets that a regressor cannot be fitted to.

    Args:
        inputs: (N, D) finite numbers.
        targets: (N,) finite numbers, at least one; None if only predictions are wanted.

    Raises:
        ValueError: if shapes do not fit or a value is not finite.
        TypeError: if they are not floating point.
    """
    check_tensors(inputs=inputs, targets=targets)
    for name, values in {"inputs": inputs, "targets": targets}.items():
        if values is not None and not values.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.double()")
        if values is not None and not values.isfinite().all():
            raise ValueError(f"{name} must be finite; remove or impute the samples that are not")
    if inputs.ndim != 2:
        raise ValueError(f"inputs must have shape (N, D), got {tuple(inputs.shape)}")
    if targets is not None and (targets.shape != inputs.shape[:1] or len(targets) == 0):
        raise ValueError(
            f"targets must have shape ({len(inputs)},) to match the inputs, with N >= 1, got {tuple(targets.shape)}"
        )


@method(
    Reference(
        authors="Adrien-Marie Legendre",
        title="Nouvelles méthodes pour la détermination des orbites des comètes",
        venue="Firmin Didot, Paris",
        year=1805,
    ),
    cost="a singular value decomposition of the (N, D) inputs",
)
class LeastSquares(Fittable):
    """Predicts ``c + x·w``, with the least sum of squared errors.

    Of several solutions the one with the smallest w about the mean input is taken, so columns that are constant or
    copies of each other do no harm. Without columns, D = 0, it predicts the mean target.

    Attributes:
        coefficients_: (D,) w, float64.
        intercept_: c.

    Example:
        >>> import torch
        >>> inputs = torch.tensor([[0.0], [1.0], [2.0]])
        >>> LeastSquares().fit(inputs, torch.tensor([1.0, 3.0, 5.0])).predict(torch.tensor([[10.0]])).round()
        tensor([21.], dtype=torch.float64)
    """

    coefficients_: Float[Tensor, " D"]
    intercept_: float

    def fit(self, inputs: Float[Tensor, "N D"], targets: Float[Tensor, " N"]) -> "LeastSquares":
        """Learn the coefficients; an earlier fit is forgotten.

        Args:
            inputs: (N, D) features, finite.
            targets: (N,) what to predict.

        Returns:
            Itself.

        Raises:
            ValueError: if shapes do not fit or a value is not finite.
            TypeError: if they are not floating point.
        """
        check_rows(inputs, targets)
        with self._learning():
            x, y = inputs.detach().double(), targets.detach().double()
            centre, mean = x.mean(dim=0), y.mean()
            self.coefficients_ = torch.linalg.pinv(x - centre) @ (y - mean)
            self.intercept_ = (mean - centre @ self.coefficients_).item()
        return self

    def predict(self, inputs: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Return the predictions, float64.

        Args:
            inputs: (N, D) features.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the inputs have another number of columns.
        """
        self._check_fitted()
        check_rows(inputs)
        if inputs.shape[1] != len(self.coefficients_):
            raise ValueError(f"inputs must have {len(self.coefficients_)} columns, as fitted, got {inputs.shape[1]}")
        return inputs.double() @ self.coefficients_ + self.intercept_
