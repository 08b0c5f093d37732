"""The regression tree with one split, as a regressor that boosting can fit and a file can hold."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.calibrate._least_squares import check_rows
from trueline.contracts import Fittable, Reference, method


@method(
    Reference(
        authors="Leo Breiman, Jerome H. Friedman, Richard A. Olshen, Charles J. Stone",
        title="Classification and Regression Trees",
        venue="Wadsworth",
        year=1984,
    ),
    cost="one sort of each column",
)
class Stump(Fittable):
    """Predicts one value where one feature is at most a threshold, and another where it is above.

    Feature, threshold and values have the least sum of squared errors; the threshold lies midway between two values
    that occur. Of equally good splits the first feature and its lowest threshold are taken. Where no split helps, as
    for a single sample, both values are the mean target.

    Attributes:
        feature_: the column that decides.
        threshold_: what it is compared with.
        below_: the prediction at or below the threshold.
        above_: the prediction above it.

    Example:
        >>> import torch
        >>> inputs = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> stump = Stump().fit(inputs, torch.tensor([5.0, 5.0, 9.0, 9.0]))
        >>> stump.threshold_, stump.predict(inputs).tolist()
        (1.5, [5.0, 5.0, 9.0, 9.0])
    """

    feature_: int
    threshold_: float
    below_: float
    above_: float

    def fit(self, inputs: Float[Tensor, "N D"], targets: Float[Tensor, " N"]) -> "Stump":
        """Learn the split; an earlier fit is forgotten.

        Args:
            inputs: (N, D) features, finite, D at least 1.
            targets: (N,) what to predict.

        Returns:
            Itself.

        Raises:
            ValueError: if shapes do not fit or a value is not finite.
            TypeError: if they are not floating point.
        """
        check_rows(inputs, targets)
        if inputs.shape[1] == 0:
            raise ValueError("inputs must have at least one column to split on, got none")
        with self._learning():
            x, y = inputs.detach().double(), targets.detach().double()
            mean = y.mean().item()
            ordered, order = x.sort(dim=0, stable=True)
            left = (y - mean)[order].cumsum(dim=0)[
                :-1
            ]  # sums of what lies below each cut; the rest sums to their negative
            sizes = torch.arange(1, len(y), dtype=torch.float64, device=x.device)[:, None]
            gain = left.square() * (1 / sizes + 1 / (len(y) - sizes))
            gain = torch.where(ordered[1:] > ordered[:-1], gain, 0.0).T  # no cut between equal values
            place = int(gain.argmax()) if gain.numel() else 0
            if not gain.numel() or not gain.flatten()[place] > 0:
                self.feature_, self.threshold_, self.below_, self.above_ = 0, 0.0, mean, mean
                return self
            feature, cut = divmod(place, len(y) - 1)
            low, high = ordered[cut, feature], ordered[cut + 1, feature]
            middle = low + (high - low) / 2
            below = left[cut, feature].item()
            self.feature_ = feature
            self.threshold_ = (middle if middle < high else low).item()  # adjacent floats have no middle
            self.below_ = mean + below / (cut + 1)
            self.above_ = mean - below / (len(y) - cut - 1)
        return self

    def predict(self, inputs: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """Return the predictions, float64.

        Args:
            inputs: (N, D) features.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the inputs lack the column that decides.
        """
        self._check_fitted()
        check_rows(inputs)
        if inputs.shape[1] <= self.feature_:
            raise ValueError(f"inputs must have more than {self.feature_} columns, got {inputs.shape[1]}")
        above = (inputs[:, self.feature_].double() > self.threshold_).long()
        return torch.tensor([self.below_, self.above_], dtype=torch.float64, device=inputs.device)[above]
