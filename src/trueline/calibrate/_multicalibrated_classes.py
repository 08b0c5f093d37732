"""Multicalibrated class probabilities: level-set boosting of each class against the rest."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._multicalibration import LevelSetBoosting
from trueline.calibrate._multicalibration_error import MULTICALIBRATION
from trueline.contracts import Fittable, check_labels, method, read_probs


@method(MULTICALIBRATION, cost="one boosting for each class, or one in all for two classes")
class MulticalibratedClasses(Fittable):
    """Corrects class probabilities, given features of the samples, until groups that the features tell are honest.

    With two classes the probability of class 1 is boosted, and class 0 gets the rest. With more, each class is boosted
    against the others and rows are divided by their sums, one row of zeros becoming uniform; what is guaranteed of
    each class alone holds approximately after that. One against the rest and the division are ours, as there is no
    version for many classes in the paper.

    Args:
        boosting: its options are used for every class.

    Attributes:
        num_classes_: how many classes it was fitted to.
        boosters_: the fitted boosting of class 1 of two, or of every class.

    Example:
        >>> import torch
        >>> from trueline.calibrate import LeastSquares
        >>> group = torch.arange(400) % 2  # class 1 comes with 20 % in one group, 80 % in the other
        >>> labels = ((torch.arange(400) // 2) % 5 < torch.where(group == 0, 1, 4)).long()
        >>> honest = MulticalibratedClasses(LevelSetBoosting(LeastSquares()))
        >>> probs, inputs = torch.full((400,), 0.5), group.float()[:, None]
        >>> honest.fit(labels, inputs, probs=probs).predict_proba(inputs, probs=probs)[:2, 1]
        tensor([0.2000, 0.8000])
    """

    num_classes_: int
    boosters_: list[LevelSetBoosting]

    def __init__(self, boosting: LevelSetBoosting) -> None:
        self.boosting = boosting

    def fit(
        self,
        labels: Int64[Tensor, " N"],
        inputs: Float[Tensor, "N D"],
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        validation: Int64[Tensor, " V"] | None = None,
    ) -> "MulticalibratedClasses":
        """Learn the corrections from held-out predictions; an earlier fit is forgotten.

        Args:
            labels: (N,) class numbers, int64. Use samples the model was not trained on.
            inputs: (N, D) features, such as group memberships or what the model saw.
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            validation: (V,) positions of the samples that decide which changes are kept and are not fitted to; or
                None.

        Returns:
            Itself.

        Raises:
            ValueError: if predictions, labels, inputs or positions are not what is described above.
            TypeError: if a dtype is wrong.
        """
        chance = read_probs(logits=logits, probs=probs).detach().clamp(0, 1)
        check_labels(labels, *chance.shape)
        if inputs.shape[:1] != labels.shape:
            raise ValueError(f"inputs must have {len(labels)} rows to match the labels, got {tuple(inputs.shape)}")
        kept = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
        if validation is not None:
            if len(validation) == 0 or int(validation.min()) < 0 or int(validation.max()) >= len(labels):
                raise ValueError(f"validation must be positions in [0, {len(labels) - 1}], at least one")
            kept[validation] = False
        if not kept.any():
            raise ValueError("validation must leave samples to fit to, got all of them")
        boosters = []
        for column in _columns(chance.shape[1]):
            hits = (labels == column).double()
            more: dict[str, Any] = {}
            if validation is not None:
                more = {
                    "validation": (inputs[~kept], hits[~kept]),
                    "validation_start": chance[~kept, column],
                }
            boosters.append(self.boosting.unfitted().fit(inputs[kept], hits[kept], start=chance[kept, column], **more))
        with self._learning():
            self.num_classes_, self.boosters_ = chance.shape[1], boosters
        return self

    def predict_proba(
        self,
        inputs: Float[Tensor, "N D"],
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
    ) -> Float[Tensor, "N C"]:
        """Return corrected probabilities.

        Args:
            inputs: (N, D) features.
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            (N, C) probabilities whose rows sum to one, in the input's dtype.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if predictions or inputs are not what is described above.
        """
        self._check_fitted()
        chance = read_probs(logits=logits, probs=probs).detach().clamp(0, 1)
        if chance.shape[1] != self.num_classes_:
            raise ValueError(
                f"this {type(self).__name__} was fitted to {self.num_classes_} classes, got {chance.shape[1]}"
            )
        mapped = torch.stack(
            [
                booster.predict(inputs, start=chance[:, column])
                for column, booster in zip(_columns(self.num_classes_), self.boosters_, strict=True)
            ],
            dim=1,
        )
        if self.num_classes_ == 2:
            mapped = torch.cat([1 - mapped, mapped], dim=1)
        total = mapped.sum(dim=1, keepdim=True)
        shared = torch.where(total > 0, mapped / torch.where(total > 0, total, 1), 1 / self.num_classes_)
        given = logits if logits is not None else probs
        assert given is not None
        return shared.to(given.dtype)


def _columns(num_classes: int) -> list[int]:
    return [1] if num_classes == 2 else list(range(num_classes))
