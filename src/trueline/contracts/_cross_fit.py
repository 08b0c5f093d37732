"""Cross-fitting: every prediction is mapped by a calibrator that has not seen its label."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts._calibrator import Calibrator
from trueline.contracts._checks import check_labels, check_weight
from trueline.contracts._deal_folds import deal_folds
from trueline.contracts._predictions import read_log_probs


def cross_fit(
    make: Callable[[], Calibrator],
    labels: Int64[Tensor, " N"],
    *,
    logits: Float[Tensor, "N *C"] | None = None,
    probs: Float[Tensor, "N *C"] | None = None,
    weight: Float[Tensor, " N"] | None = None,
    folds: int = 5,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "N C"]:
    """Return calibrated log-probabilities, each row mapped by a calibrator that was fitted to the other folds.

    Samples are dealt to the folds at random, so that sizes differ by at most one. Samples of weight 0 are dealt
    last: they are mapped like the others and change nothing for them.

    Args:
        make: returns a new, unfitted calibrator; often just the class.
        labels: (N,) class numbers, int64.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples in the fits, at least zero; None for ones.
        folds: number of folds, from 2 to the number of samples of positive weight.
        generator: deals the samples to the folds; None for one seeded with 0.

    Returns:
        (N, C) log-probabilities in nats, float64.

    Raises:
        ValueError: if the predictions, labels, weights or ``folds`` are not what is described above.
        TypeError: if a dtype is wrong, or ``make`` is a calibrator where something that makes them is wanted.

    Cost:
        One fit for each fold, and memory for two double-precision copies of the predictions.

    Example:
        >>> from trueline.calibrate import TemperatureScaling
        >>> logits = torch.tensor([[4.0, 0.0]]).expand(8, 2)
        >>> labels = torch.tensor([0, 0, 0, 1, 0, 0, 0, 1])
        >>> log_probs = cross_fit(TemperatureScaling, labels, logits=logits, folds=8)
        >>> round(log_probs[0, 0].exp().item(), 3)  # five of the other seven are right
        0.714
    """
    log_probs = read_log_probs(logits=logits, probs=probs).detach()
    check_labels(labels, *log_probs.shape)
    if weight is not None:
        check_weight(weight, len(labels))
    counted = torch.ones(len(labels), dtype=torch.bool) if weight is None else (weight > 0).cpu()
    drawn = int(counted.sum())
    fold = torch.empty(len(labels), dtype=torch.int64)
    fold[counted] = deal_folds(drawn, folds, generator, of="samples of positive weight")
    fold[~counted] = torch.arange(drawn, len(labels)) % folds
    fold = fold.to(log_probs.device)
    calibrated = torch.empty_like(log_probs)
    for number in range(folds):
        held_out = fold == number
        others = ~held_out
        # A calibrator cannot depend on a constant added to a row, so log-probabilities serve as logits.
        calibrator = make().fit(
            labels[others], logits=log_probs[others], weight=None if weight is None else weight[others]
        )
        calibrated[held_out] = calibrator.transform(logits=log_probs[held_out]).detach()
    return calibrated
