"""Conformalised early stopping for classification, by Liang, Zhou and Sesia (2023)."""

import warnings
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.conformal._by_cell import check_unwrapped
from trueline.conformal._checkpoint_values import LIANG
from trueline.conformal._conformal_quantile import too_few
from trueline.contracts import ConformalClassifier, Fittable, check_labels, method, read_log_probs
from trueline.numerics import conformal_rank

E = TypeVar("E", bound="ConformalEarlyStopping")


@method(
    LIANG,
    cost="predictions of T checkpoints for every sample; one sort of N scores a checkpoint to fit, two passes over the "
    "(T, M, C) predictions to predict",
)
class ConformalEarlyStopping(Fittable):
    """Sets of classes that stay valid when the same samples choose the checkpoint and calibrate it.

    To stop at the checkpoint with the smallest log loss on the calibration samples and then calibrate it on them covers
    too seldom. Here every class y of a new sample is judged by the checkpoint that would be chosen if the sample with
    that label were among the calibration samples, ``t(y) = argmin_t L_t - ln p_t(y | x)`` with L_t their sum of log
    losses: a choice that does not tell the new sample from the others. Its p-value is ``(1 + #{i: S_i >= S(x, y)})/(n +
    1)`` with the scores of that checkpoint, and the set holds the classes with p-values above ``alpha``. It holds the
    label with probability ``⌈(n + 1)(1 - alpha)⌉/(n + 1)`` or more, exactly that if the scores are distinct. With one
    checkpoint this is the method whose score it uses.

    Args:
        method: an unfitted method with one threshold whose scores and ``alpha`` are used, such as ``LAC(0.1)``.
        label_conditional: whether a class is compared with the calibration samples of that class alone, so that every
            class is covered as often as agreed. A class with fewer than ``1/alpha - 1`` samples is in every set.

    Attributes:
        losses_: (T,) sum of log losses of each checkpoint on the calibration samples, in nats.
        scores_: (T, N) their scores, for each checkpoint in ascending order within a group.
        ends_: (G + 1,) where the groups begin and end: one group, or one for each class.
        best_: the checkpoint with the smallest loss, of ties the first; what early stopping would keep.

    Example:
        >>> from trueline.conformal import LAC
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> runs = torch.stack([probs, probs.flip(1)])  # two checkpoints; the second has it all wrong
        >>> stopped = ConformalEarlyStopping(LAC(0.2)).fit(torch.tensor([0, 0, 1, 1]), probs=runs)
        >>> stopped.best_, stopped.predict_set(probs=torch.tensor([[[0.7, 0.3]], [[0.7, 0.3]]])).tolist()
        (0, [[True, False]])
    """

    losses_: Float[Tensor, " T"]
    scores_: Float[Tensor, "T N"]
    ends_: Int64[Tensor, " G"]
    num_classes_: int
    best_: int

    def __init__(self, method: ConformalClassifier, *, label_conditional: bool = False) -> None:
        check_unwrapped(method)
        self.method = method
        self.label_conditional = label_conditional

    def fit(
        self: E,
        labels: Int64[Tensor, " N"],
        *,
        logits: Float[Tensor, "T N *C"] | None = None,
        probs: Float[Tensor, "T N *C"] | None = None,
        index: Int64[Tensor, " N"] | None = None,
    ) -> E:
        """Learn losses and scores of all checkpoints; an earlier fit is forgotten.

        Args:
            labels: (N,) class numbers, int64, of samples that trained nothing, apart from the choice of a checkpoint.
            logits: (T, N, C) unnormalised scores of each checkpoint, or (T, N) log-odds of class 1 of two; or None.
            probs: (T, N, C) probabilities, or (T, N) of class 1 of two; or None.
            index: (N,) numbers of the samples, int64, which take part in deciding their U; or None.

        Returns:
            Itself. Too few samples of a group are said in a warning.

        Raises:
            ValueError: if predictions, labels or index are not what is described above.
            TypeError: if a dtype is wrong.
        """
        losses, scores = [], []
        given = logits if logits is not None else probs
        if given is not None and given.ndim == 2 and given.shape[1] != len(labels):
            name = "logits" if logits is not None else "probs"
            raise ValueError(
                f"{name} must be (T, N, C), one (N, C) table a checkpoint, or (T, N) of two classes, with N = "
                f"{len(labels)} labels, got {tuple(given.shape)}; for one checkpoint pass {name}[None]"
            )
        for run in _runs(logits, probs):
            log_probs = read_log_probs(**run).detach()
            check_labels(labels, *log_probs.shape)
            own = self.method.scores(**run, index=index)
            losses.append(-log_probs.gather(1, labels[:, None]).sum())
            scores.append(own.gather(1, labels[:, None]).squeeze(1))
        with self._learning():
            self.losses_ = torch.stack(losses)
            self.best_ = int(self.losses_.argmin())
            self.num_classes_ = log_probs.shape[1]
            self.ends_, self.scores_ = self._grouped(torch.stack(scores), labels)
            smallest = int(self.ends_.diff().min())
            if conformal_rank(smallest, self.method.alpha) > smallest:
                where = " in the smallest class" if self.label_conditional else ""
                warnings.warn(too_few(f"only {smallest}{where}", self.method.alpha), stacklevel=2)
        return self

    def chosen(
        self, *, logits: Float[Tensor, "T M *C"] | None = None, probs: Float[Tensor, "T M *C"] | None = None
    ) -> Int64[Tensor, "M C"]:
        """Return the checkpoint that each class is judged by.

        Args:
            logits: (T, M, C) unnormalised scores of each checkpoint, or (T, M) log-odds of class 1 of two; or None.
            probs: (T, M, C) probabilities, or (T, M) of class 1 of two; or None.

        Returns:
            (M, C) numbers of checkpoints, the first of those that tie.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the predictions are not what is described above.
        """
        for number, run in enumerate(self._read(logits, probs)):
            loss = self.losses_[number] - read_log_probs(**run).detach()
            if number == 0:
                self._check_classes(loss.shape[1])
                least, found = loss, torch.zeros_like(loss, dtype=torch.int64)
            better = loss < least
            least, found = torch.where(better, loss, least), torch.where(better, number, found)
        return found

    def p_values(
        self,
        *,
        logits: Float[Tensor, "T M *C"] | None = None,
        probs: Float[Tensor, "T M *C"] | None = None,
        index: Int64[Tensor, " M"] | None = None,
    ) -> Float[Tensor, "M C"]:
        """Return the p-value of each class: that of the label is at most a with a probability of at most a.

        Args:
            logits: (T, M, C) unnormalised scores of each checkpoint, or (T, M) log-odds of class 1 of two; or None.
            probs: (T, M, C) probabilities, or (T, M) of class 1 of two; or None.
            index: (M,) numbers of the samples, int64, which take part in deciding their U; or None.

        Returns:
            (M, C) p-values in (0, 1], float64.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if predictions or index are not what is described above.
        """
        reached, sizes = self._counts(logits, probs, index)
        return (1 + reached).double() / (1 + sizes)

    def predict_set(
        self,
        *,
        logits: Float[Tensor, "T M *C"] | None = None,
        probs: Float[Tensor, "T M *C"] | None = None,
        index: Int64[Tensor, " M"] | None = None,
    ) -> Bool[Tensor, "M C"]:
        """Return which classes are in the set of each sample: those with p-values above ``alpha``.

        Args:
            logits: (T, M, C) unnormalised scores of each checkpoint, or (T, M) log-odds of class 1 of two; or None.
            probs: (T, M, C) probabilities, or (T, M) of class 1 of two; or None.
            index: (M,) numbers of the samples, int64, which take part in deciding their U; or None.

        Returns:
            (M, C) True for the classes in the set. If the method has ``allow_empty=False``, the most probable class of
            the best checkpoint is added to sets that are empty.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if predictions or index are not what is described above.
        """
        reached, sizes = self._counts(logits, probs, index)
        ranks = torch.tensor([conformal_rank(size, self.method.alpha) for size in sizes.tolist()], device=sizes.device)
        inside = reached >= sizes + 1 - ranks
        if not self.method.allow_empty:
            best = _runs(logits, probs)[self.best_]
            empty = ~inside.any(dim=1)
            inside[empty, read_log_probs(**best)[empty].argmax(dim=1)] = True
        return inside

    def _counts(self, logits: Tensor | None, probs: Tensor | None, index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return how many calibration scores are at least as large, and of how many in the column's group."""
        chosen = self.chosen(logits=logits, probs=probs)
        runs = self._read(logits, probs)
        reached = torch.zeros_like(chosen)
        for number in torch.unique(chosen).tolist():
            scores = self.method.scores(**runs[number], index=index)
            own = chosen == number
            for group in range(len(self.ends_) - 1):
                columns = slice(group, group + 1) if self.label_conditional else slice(None)
                picked, first, last = own[:, columns], int(self.ends_[group]), int(self.ends_[group + 1])
                values = scores[:, columns][picked]
                below = torch.searchsorted(self.scores_[number, first:last].contiguous(), values)
                reached[:, columns][picked] = last - first - below
        sizes = self.ends_.diff()
        return reached, sizes if self.label_conditional else sizes.expand(self.num_classes_)

    def _grouped(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the groups end, and the (T, N) scores sorted within them."""
        ordered = scores.sort(dim=1)
        if not self.label_conditional:
            return torch.tensor([0, len(labels)], device=labels.device), ordered.values
        by_class = labels[ordered.indices].argsort(dim=1, stable=True)
        sizes = torch.bincount(labels, minlength=self.num_classes_)
        return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), ordered.values.gather(1, by_class)

    def _read(self, logits: Tensor | None, probs: Tensor | None) -> list[dict[str, Any]]:
        self._check_fitted()
        runs = _runs(logits, probs)
        if len(runs) != len(self.losses_):
            raise ValueError(f"expected predictions of the {len(self.losses_)} checkpoints of the fit, got {len(runs)}")
        return runs

    def _check_classes(self, number: int) -> None:
        if number != self.num_classes_:
            raise ValueError(f"fitted to {self.num_classes_} classes, got predictions of {number}")


def _runs(logits: Tensor | None, probs: Tensor | None) -> list[dict[str, Any]]:
    """Return the predictions of each checkpoint, by the keyword they are to be passed on with."""
    if (logits is None) == (probs is None):
        given = "neither" if logits is None else "both"
        raise ValueError(f"expected exactly one of logits= and probs=, got {given}; pass one by keyword")
    name, runs = ("logits", logits) if logits is not None else ("probs", probs)
    assert runs is not None
    if runs.ndim not in (2, 3) or runs.numel() == 0:
        raise ValueError(f"{name} must have shape (T, N, C), one (N, C) table a checkpoint, got {tuple(runs.shape)}")
    return [{name: run} for run in runs]
