"""Every measure of one set of predictions, and of its groups."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_predictions
from trueline.measure._evaluation import Evaluation
from trueline.measure._evaluator import Evaluator


def evaluate(
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    groups: Sequence[object] | Int64[Tensor, " N"] | None = None,
    bins: int = 15,
) -> Evaluation:
    """Return every measure of a set of predictions with its interval, and the same for groups of samples.

    Args:
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples, at least zero; None for ones.
        groups: (N,) the group of each sample, numbers or text; None for no groups.
        bins: number of bins of the binned measures.

    Returns:
        The measures. Accuracies have Wilson intervals, means of scores those of their standard error, calibration
        errors the reflected bootstrap and areas the percentile bootstrap. The interval of a calibration error may
        leave out zero for a calibrated model too, whose error is above zero: hold such an error against ``noise``.

    Raises:
        ValueError: if the predictions, labels, weights or groups are not what is described above.
        TypeError: if a dtype is wrong.

    Cost:
        One pass over the predictions, and a second one with groups; then the intervals, which cost nearly the same
        whatever the number of samples.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2]]).expand(50, 2)
        >>> found = evaluate(torch.arange(50) % 2, probs=probs)
        >>> round(found.scores["confidence_gap"].value, 3), found.within_noise
        (0.3, False)
    """
    values = check_predictions(logits=logits, probs=probs)
    kind = "logits" if probs is None else "probs"
    whole = Evaluator(values.shape[1], bins=bins).add(labels, weight=weight, **{kind: values})
    parts = {}
    if groups is not None:
        keys = groups.tolist() if isinstance(groups, Tensor) else list(groups)
        if len(keys) != len(labels):
            raise ValueError(f"groups must name one group per sample, {len(labels)}, got {len(keys)}")
        for name in sorted(set(keys), key=lambda key: (str(type(key)), key)):
            rows = torch.tensor([key == name for key in keys])
            part = Evaluator(values.shape[1], bins=bins)
            part.add(labels[rows], weight=None if weight is None else weight[rows], **{kind: values[rows]})
            parts[str(name)] = part.result()
    return whole.result(groups=parts)
