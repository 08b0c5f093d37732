"""Conformal sets under covariate shift, by Tibshirani, Barber, Candès and Ramdas (2019)."""

from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.conformal._by_cell import check_unwrapped
from trueline.conformal._conformal_quantile import conformal_quantile
from trueline.contracts import (
    ConformalClassifier,
    Fittable,
    Reference,
    check_labels,
    check_predictions,
    check_weight,
    method,
)

W = TypeVar("W", bound="WeightedConformal")

TIBSHIRANI = Reference(
    authors="Ryan J. Tibshirani, Rina Foygel Barber, Emmanuel J. Candès, Aaditya Ramdas",
    title="Conformal Prediction Under Covariate Shift",
    venue="NeurIPS",
    year=2019,
    arxiv="1904.06019",
)


@method(TIBSHIRANI, cost="one sort of the n calibration scores; a binary search for every sample and class")
class WeightedConformal(Fittable):
    """Sets of classes for samples that are distributed otherwise than the calibration samples.

    Calibration samples come with weights ``w_i = dQ(x_i)/dP(x_i)``, the likelihood ratio of new to calibration inputs
    up to any common factor, and so does each new sample. The threshold of a new sample of weight w is the smallest
    score s with ``Σ_{i: S_i <= s} w_i >= (1 - alpha)(Σ_i w_i + w)``, infinite if there is none, so that it is another
    one for every sample. If the labels given the inputs are distributed as before, and the weights are right, the set
    holds the label with probability at least ``1 - alpha``. Weights of one give the method whose score it uses.

    Where new samples are unlike most of the calibration samples, few of these count and sets become large:
    ``effective_size_`` says how many equally weighted ones they are worth.

    Args:
        method: an unfitted method with one threshold whose scores and ``alpha`` are used, such as ``LAC(0.1)``.

    Attributes:
        scores_: (n,) the scores of the calibration labels in ascending order.
        weight_: (n,) their weights.
        effective_size_: ``(Σ w)²/Σ w²``, from 1 to n.

    Example:
        >>> from trueline.conformal import LAC
        >>> probs, labels = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]), torch.tensor([0, 0, 1, 1])
        >>> weighted = WeightedConformal(LAC(0.4)).fit(labels, probs=probs, weight=torch.tensor([1.0, 1.0, 1.0, 9.0]))
        >>> weighted.thresholds(torch.tensor([0.5, 20.0])).tolist()  # ln 2.5, where the weight of nine lies
        [0.91..., inf]
        >>> LAC(0.4).fit(labels, probs=probs).threshold_
        0.35...
    """

    scores_: Float[Tensor, " n"]
    weight_: Float[Tensor, " n"]
    effective_size_: float
    num_classes_: int

    def __init__(self, method: ConformalClassifier) -> None:
        check_unwrapped(method)
        self.method = method

    def fit(
        self: W,
        labels: Int64[Tensor, " N"],
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        weight: Float[Tensor, " N"],
        index: Int64[Tensor, " N"] | None = None,
    ) -> W:
        """Learn from held-out predictions and their weights; an earlier fit is forgotten.

        Args:
            labels: (N,) class numbers, int64, of samples that were used for nothing else.
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            weight: (N,) likelihood ratios of new to calibration inputs, at least zero, with a positive sum; see
                :func:`likelihood_ratio`. They must not depend on these labels.
            index: (N,) numbers of the samples, int64, which take part in deciding their U; or None.

        Returns:
            Itself.

        Raises:
            ValueError: if predictions, labels, weights or index are not what is described above.
            TypeError: if a dtype is wrong.
        """
        scores = self.method.scores(logits=logits, probs=probs, index=index)
        check_labels(labels, *scores.shape)
        check_weight(weight, len(labels))
        with self._learning():
            self.num_classes_ = scores.shape[1]
            self.scores_, order = scores.gather(1, labels[:, None]).squeeze(1).sort()
            self.weight_ = weight.detach().double()[order]
            self.effective_size_ = (self.weight_.sum().square() / self.weight_.square().sum()).item()
        return self

    def thresholds(self, weight: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
        """Return the largest score in the set of a sample of each weight.

        Args:
            weight: (M,) weights of new samples on the scale of the calibration weights, at least zero.

        Returns:
            (M,) scores, float64; infinite where a sample's weight is a share above ``alpha`` of all.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if a weight is negative or not finite.
        """
        self._check_fitted()
        return conformal_quantile(self.scores_, self.method.alpha, weight=self.weight_, test_weight=weight)

    def predict_set(
        self,
        *,
        logits: Float[Tensor, "M *C"] | None = None,
        probs: Float[Tensor, "M *C"] | None = None,
        weight: Float[Tensor, " M"],
        index: Int64[Tensor, " M"] | None = None,
    ) -> Bool[Tensor, "M C"]:
        """Return which classes are in the set of each sample: those whose score is at most its threshold.

        Args:
            logits: (M, C) unnormalised scores, or (M,) log-odds of class 1 of two; or None.
            probs: (M, C) probabilities, or (M,) of class 1 of two; or None.
            weight: (M,) likelihood ratios of the samples, on the scale of the calibration weights.
            index: (M,) numbers of the samples, int64, which take part in deciding their U; or None.

        Returns:
            (M, C) True for the classes in the set. If the method has ``allow_empty=False``, the most probable class is
            added to sets that are empty.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if predictions, weights or index are not what is described above.
            TypeError: if a dtype is wrong.
        """
        scores = self._scores(logits, probs, weight, index)
        inside = scores <= self.thresholds(weight)[:, None]
        if not self.method.allow_empty:
            empty = ~inside.any(dim=1)
            inside[empty, check_predictions(logits=logits, probs=probs)[empty].argmax(dim=1)] = True
        return inside

    def p_values(
        self,
        *,
        logits: Float[Tensor, "M *C"] | None = None,
        probs: Float[Tensor, "M *C"] | None = None,
        weight: Float[Tensor, " M"],
        index: Int64[Tensor, " M"] | None = None,
    ) -> Float[Tensor, "M C"]:
        """Return the p-value of each class, ``(w + Σ_{i: S_i >= S(y)} w_i)/(w + Σ_i w_i)``.

        Sets hold the classes with p-values above ``alpha``.

        Args:
            logits: (M, C) unnormalised scores, or (M,) log-odds of class 1 of two; or None.
            probs: (M, C) probabilities, or (M,) of class 1 of two; or None.
            weight: (M,) likelihood ratios of the samples, on the scale of the calibration weights.
            index: (M,) numbers of the samples, int64, which take part in deciding their U; or None.

        Returns:
            (M, C) p-values in [0, 1], float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if predictions, weights or index are not what is described above.
            TypeError: if a dtype is wrong.
        """
        scores, own = self._scores(logits, probs, weight, index), weight.detach().double()[:, None]
        from_top = torch.cat([self.weight_.flip(0).cumsum(0).flip(0), self.weight_.new_zeros(1)])
        reached = from_top[torch.searchsorted(self.scores_, scores)]
        return (own + reached) / (own + from_top[0])

    def _scores(self, logits: Tensor | None, probs: Tensor | None, weight: Tensor, index: Tensor | None) -> Tensor:
        self._check_fitted()
        scores = self.method.scores(logits=logits, probs=probs, index=index)
        if scores.shape[1] != self.num_classes_:
            raise ValueError(f"fitted to {self.num_classes_} classes, got predictions of {scores.shape[1]}")
        check_weight(weight, len(scores), some_positive=False)
        return scores
