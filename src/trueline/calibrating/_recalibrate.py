"""One set of predictions recalibrated: the map that is kept, and an honest judgement of what such a map changes."""

import warnings
from collections.abc import Iterator, Sequence

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate import AutomaticCalibration
from trueline.calibrating._findings import SEEN, warned
from trueline.calibrating._maps import map_named
from trueline.calibrating._recalibration import Recalibration
from trueline.calibrating._recalibration_words import notes_on_change, recalibration_verdict
from trueline.calibrating._samples import Samples, notes_on_input, read_samples
from trueline.contracts import Calibrator, cross_fit
from trueline.measure import Evaluation, Evaluator
from trueline.page import percent
from trueline.predictions import PredictionSet

FOLDS = 5
_LOWEST = -1e60  # nats; fits take squares
FEWEST = 30  # samples below which a map says more about them than about the model


def recalibrate(
    predictions: PredictionSet, *, method: str = "auto", folds: int = FOLDS, bins: int = 15
) -> Recalibration:
    """Fit a recalibration map, and judge it on samples it has not seen.

    Where ``predictions.held_out`` has other samples of the same model, the map is fitted to those and judged on the
    set. Else it is judged by cross-validation: each part of the samples is mapped by a map fitted to the others, and
    the map that is kept is fitted to all.

    Args:
        predictions: of a trained model, on samples it was not trained on.
        method: ``"auto"``, which chooses by cross-validated log loss, or another key of ``MAPS``.
        folds: parts of the cross-validation.
        bins: number of bins of the binned measures.

    Returns:
        The map, and every measure before and after with paired differences.

    Raises:
        ValueError: if the method is unknown, there are fewer than 30 samples of positive weight to fit to, or
            predictions are not what they should be, such as logits that differ by more than 1e60.

    Cost:
        One fit, or one and ``folds`` of them; the automatic choice fits each candidate as often as that again.

    Example:
        >>> import torch
        >>> from trueline.predictions import from_arrays
        >>> labels = torch.arange(400) % 4 // 3  # class 1 in every fourth sample
        >>> predictions = from_arrays(labels, probs=torch.tensor([[0.95, 0.05]]).expand(400, 2))
        >>> found = recalibrate(predictions, method="temperature")
        >>> round(found.before.scores["ece"].value, 2), round(found.after.scores["ece"].value, 2)
        (0.2, 0.0)
    """
    make = map_named(method)
    held_out, names = predictions.held_out, predictions.group_names
    judged = read_samples(predictions, names)
    fitting = judged if held_out is None else read_samples(held_out, held_out.group_names)
    counts = _class_counts(fitting, predictions.num_classes)
    if (counted := int(counts.sum())) < FEWEST:
        weighing = "" if fitting.weight is None else " of positive weight"
        raise ValueError(f"a map is fitted to at least {FEWEST} samples, got {counted}{weighing}")
    lowest = min(samples.log_probs.min().item() for samples in (judged, fitting))
    if lowest < _LOWEST:
        raise ValueError(
            f"logits of one sample must lie within {-_LOWEST:g}, got {-lowest:g}; to mask a class -1e9 will do"
        )
    before = _evaluate(judged, judged.log_probs, names, bins)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator = make().fit(fitting.labels, logits=fitting.log_probs, weight=fitting.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part may be a hard case; what it leads to is in the judgement
        mapped = (
            calibrator.transform(logits=judged.log_probs)
            if held_out is not None
            else cross_fit(make, judged.labels, logits=judged.log_probs, weight=judged.weight, folds=folds)
        )
    after = _evaluate(judged, mapped, names, bins)
    change = after.minus(before)
    moved = before.outcomes.predictions != after.outcomes.predictions
    changed = (moved.double() @ before.outcomes.weights / before.outcomes.weights.sum()).item()
    fitted = len(fitting)
    fitted_on = f"the {fitted:,} judged samples" if held_out is None else f"{fitted:,} other samples, {held_out.source}"
    notes = [
        *notes_on_input(predictions, judged),
        *warned(caught),
        *_absent(counts),
        *(() if held_out is None else _seen(calibrator, judged.log_probs)),
        *notes_on_change(change, changed),
    ]
    return Recalibration(
        name=predictions.name,
        source=predictions.source,
        method=method,
        calibrator=calibrator,
        before=before,
        after=after,
        change=change,
        changed=changed,
        choice=calibrator.choice() if isinstance(calibrator, AutomaticCalibration) else None,
        fitted_on=fitted_on,
        fitted=fitted,
        folds=folds if held_out is None else None,
        class_names=predictions.class_names,
        verdict=recalibration_verdict(calibrator, before, after, change, changed),
        notes=tuple(notes),
    )


def _class_counts(samples: Samples, classes: int) -> Int64[Tensor, " C"]:
    counted = samples.labels if samples.weight is None else samples.labels[samples.weight > 0]
    return counted.bincount(minlength=classes)


def _evaluate(samples: Samples, log_probs: Float[Tensor, "N C"], names: Sequence[str], bins: int) -> Evaluation:
    def measured(rows: Tensor | slice) -> Evaluator:
        own = None if samples.weight is None else samples.weight[rows]
        return Evaluator(log_probs.shape[1], bins=bins).add(samples.labels[rows], logits=log_probs[rows], weight=own)

    groups, apart = samples.groups, {}
    if groups is not None:
        counted = groups if samples.weight is None else groups[samples.weight > 0]
        apart = {name: measured(groups == g).result() for g, name in enumerate(names) if bool((counted == g).any())}
    return measured(slice(None)).result(groups=apart)


def _absent(counts: Int64[Tensor, " C"]) -> Iterator[str]:
    if absent := int((counts == 0).sum()):
        yield (
            f"{absent:,} of {len(counts):,} classes {'has' if absent == 1 else 'have'} no sample among those that the "
            "map was fitted to, so nothing supports the probability that it gives them."
        )


def _seen(calibrator: Calibrator, log_probs: Tensor) -> Iterator[str]:
    share = calibrator.share_seen(logits=log_probs)
    if share >= SEEN:
        yield (
            f"About {percent(share)} of the samples that the map was fitted to are among those it is judged on: what "
            "it gains is overstated. Judge it on other samples."
        )
