"""Calibrated stacking of seen and unseen classes, by Chao, Changpinyo, Gong and Sha (2016)."""

import warnings
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Fittable, Reference, check_predictions, check_tensors, deal_folds, method, read_log_probs
from trueline.measure import ausuc

C = TypeVar("C", bound="CalibratedStacking")


@method(
    Reference(
        authors="Wei-Lun Chao, Soravit Changpinyo, Boqing Gong, Fei Sha",
        title="An Empirical Study and Analysis of Generalized Zero-Shot Learning for Object Recognition in the Wild",
        venue="ECCV",
        year=2016,
        arxiv="1605.04253",
    ),
    cost="one pass over the (N, C) held-out predictions and one sort of N numbers; one subtraction afterwards",
)
class CalibratedStacking(Fittable):
    """Takes a constant γ off the scores of the classes a model was trained on, so that unseen classes can win.

    A zero-shot model scores seen classes too high. γ is chosen where the harmonic mean of the accuracy on the seen and
    on the unseen classes is largest, and for that classes are needed that are unseen and yet have labels: leave some of
    the seen classes out with :func:`leave_classes_out`, train without them, score held-out samples of all seen classes,
    and pass the scores of all rounds together. Test samples take no part. Between two thresholds the accuracies are
    constant; γ is the middle of the best such stretch, of equally good ones that nearest to zero.

    Attributes:
        gamma_: what is taken off the scores of seen classes, in nats.

    Example:
        >>> logits = torch.tensor([[3.0, 0.0, 1.0], [2.5, 0.0, 0.0], [0.0, 3.0, 1.0], [2.0, 1.0, 1.0]])
        >>> labels = torch.tensor([0, 0, 1, 2])
        >>> seen = torch.tensor([True, True, False])  # class 2 was left out in this round
        >>> stacking = CalibratedStacking().fit(labels, logits=logits, seen=seen)
        >>> stacking.gamma_  # the sample of class 2 turns at 1, the first of the others at 2
        1.5
        >>> stacking.transform(logits=logits, seen=seen).argmax(dim=1).tolist()
        [0, 0, 1, 2]
    """

    gamma_: float

    def fit(
        self: C,
        labels: Int64[Tensor, " N"],
        *,
        seen: Bool[Tensor, "*rows C"],
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> C:
        """Choose γ on classes that were left out of the training; an earlier fit is forgotten.

        Args:
            labels: (N,) class numbers, int64.
            seen: the classes that the model behind each row was trained on: (N, C), or (C,) if it is one model.
            logits: (N, C) scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            weight: (N,) weights of the samples within their class, at least zero; None for ones.

        Returns:
            Itself.

        Raises:
            ValueError: if the predictions are not what is described above, or samples of one kind are missing.
            TypeError: if a dtype is wrong.
        """
        curve = ausuc(labels, seen=seen, logits=logits, probs=probs, weight=weight)
        total = curve.seen_accuracy + curve.unseen_accuracy
        harmonic = torch.where(
            total > 0, 2 * curve.seen_accuracy * curve.unseen_accuracy / total.clamp_min(1e-300), 0.0
        )
        with self._learning():
            if harmonic.max() <= 0:
                warnings.warn(
                    "no constant makes both a seen and an unseen sample right; gamma_ is left at 0. Score more samples",
                    stacklevel=2,
                )
                self.gamma_ = 0.0
                return self
            ends = torch.cat([curve.gamma[:1] - 2, curve.gamma, curve.gamma[-1:] + 2])
            middle = (ends[:-1] + ends[1:]) / 2
            best = (harmonic >= harmonic.max() - 1e-12).nonzero().flatten()
            self.gamma_ = middle[best][middle[best].abs().argmin()].item()
        return self

    def transform(
        self,
        *,
        seen: Bool[Tensor, " C"],
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
    ) -> Float[Tensor, "N C"]:
        """Return log-probabilities with γ taken off the seen classes, normalised anew.

        Args:
            seen: (C,) the classes that the model was trained on.
            logits: (N, C) scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.

        Returns:
            (N, C) log-probabilities in nats, in the input's dtype, differentiable in the input.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above, or ``seen`` does not fit them.
        """
        self._check_fitted()
        scores = read_log_probs(logits=logits, probs=probs)
        check_tensors(seen=seen)
        if seen.shape != (scores.shape[1],) or seen.dtype != torch.bool:
            raise ValueError(
                f"seen must be bool of shape ({scores.shape[1]},), got {seen.dtype} of shape {tuple(seen.shape)}"
            )
        dtype = check_predictions(logits=logits, probs=probs).dtype
        return (scores - self.gamma_ * seen).log_softmax(dim=1).to(dtype)


def leave_classes_out(
    seen: Bool[Tensor, " C"], *, folds: int = 5, generator: torch.Generator | None = None
) -> Bool[Tensor, "F C"]:
    """Return for each round which classes to train on, when every seen class is left out once.

    Args:
        seen: (C,) the classes with training samples.
        folds: number of rounds F, from 2 to the number of seen classes.
        generator: deals the classes to the rounds; None for one seeded with 0.

    Returns:
        (F, C) True where a class is trained on; unseen classes are False throughout. Row f is the ``seen`` of the
        samples scored in round f, with the columns of the seen classes, ``leave_classes_out(seen)[f][seen]``.

    Raises:
        ValueError: if ``folds`` is out of range or ``seen`` is no vector of truth values.

    Example:
        >>> rounds = leave_classes_out(torch.tensor([True, True, True, False]), folds=3)
        >>> rounds.sum(dim=0).tolist()
        [2, 2, 2, 0]
    """
    check_tensors(seen=seen)
    if seen.dtype != torch.bool or seen.ndim != 1:
        raise ValueError(f"seen must be bool of shape (C,), got {seen.dtype} of shape {tuple(seen.shape)}")
    members = seen.nonzero().flatten()
    left_out = deal_folds(len(members), folds, generator, of="seen classes").to(seen.device)
    trained = seen.repeat(folds, 1)
    trained[left_out, members] = False
    return trained
