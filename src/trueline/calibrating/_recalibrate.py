"""One set of predictions recalibrated: the map that is kept, and an honest judgement of what such a map changes."""

import warnings
from collections.abc import Iterator, Sequence

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate import AutomaticCalibration
from trueline.calibrating._maps import map_named
from trueline.calibrating._recalibration import Recalibration
from trueline.calibrating._recalibration_words import notes_on_change, recalibration_verdict
from trueline.contracts import Calibrator, cross_fit, read_log_probs
from trueline.measure import Evaluation, Evaluator
from trueline.page import percent
from trueline.predictions import PredictionSet, rows_in_memory, sample_rows

FOLDS = 5
FEWEST = 30  # samples below which a map says more about them than about the model
_SEEN = 0.05  # share of fitted samples among the judged ones that cannot be chance


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
        ValueError: if the method is unknown, there are fewer than 30 samples to fit to, or predictions are not what
            they should be.

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
    rows, log_probs = _log_probs(predictions)
    labels, weight = predictions.labels[rows], None if predictions.weight is None else predictions.weight[rows]
    held_out = predictions.held_out
    fitted = len(rows) if held_out is None else len(held_out)
    if fitted < FEWEST:
        raise ValueError(f"a map is fitted to at least {FEWEST} samples, got {fitted}")
    groups = None if predictions.groups is None else predictions.groups[rows]
    before = _evaluate(labels, log_probs, weight, groups, predictions.group_names, bins)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if held_out is None:
            calibrator = make().fit(labels, logits=log_probs, weight=weight)
        else:
            chosen, others = _log_probs(held_out)
            own = None if held_out.weight is None else held_out.weight[chosen]
            calibrator = make().fit(held_out.labels[chosen], logits=others, weight=own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a part may be a hard case; what it leads to is in the judgement
        mapped = (
            calibrator.transform(logits=log_probs)
            if held_out is not None
            else cross_fit(make, labels, logits=log_probs, weight=weight, folds=folds)
        )
    after = _evaluate(labels, mapped, weight, groups, predictions.group_names, bins)
    change = after.minus(before)
    moved = before.outcomes.predictions != after.outcomes.predictions
    changed = (moved.double() @ before.outcomes.weights / before.outcomes.weights.sum()).item()
    fitted_on = f"the {fitted:,} judged samples" if held_out is None else f"{fitted:,} other samples, {held_out.source}"
    notes = [
        *predictions.notes,
        *_sampled(predictions, rows),
        *dict.fromkeys(f"{_capital(str(warning.message))}." for warning in caught),
        *(() if held_out is None else _seen(calibrator, log_probs)),
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


def _log_probs(predictions: PredictionSet) -> tuple[Int64[Tensor, " K"], Float[Tensor, "K C"]]:
    rows = rows_in_memory(len(predictions), predictions.num_classes)
    return rows, read_log_probs(**{predictions.kind: sample_rows(predictions, rows)})


def _evaluate(
    labels: Int64[Tensor, " N"],
    log_probs: Float[Tensor, "N C"],
    weight: Float[Tensor, " N"] | None,
    groups: Int64[Tensor, " N"] | None,
    names: Sequence[str],
    bins: int,
) -> Evaluation:
    def measured(rows: Tensor | slice) -> Evaluator:
        own = None if weight is None else weight[rows]
        return Evaluator(log_probs.shape[1], bins=bins).add(labels[rows], logits=log_probs[rows], weight=own)

    apart = {}
    if groups is not None:
        apart = {name: measured(groups == g).result() for g, name in enumerate(names) if bool((groups == g).any())}
    return measured(slice(None)).result(groups=apart)


def _sampled(predictions: PredictionSet, rows: Tensor) -> Iterator[str]:
    if len(rows) < len(predictions):
        yield f"Every number is of {len(rows):,} samples drawn at random from {len(predictions):,}."


def _seen(calibrator: Calibrator, log_probs: Tensor) -> Iterator[str]:
    share = calibrator.share_seen(logits=log_probs)
    if share >= _SEEN:
        yield (
            f"About {percent(share)} of the samples that the map was fitted to are among those it is judged on: what "
            "it gains is overstated. Judge it on other samples."
        )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:].rstrip(".")
