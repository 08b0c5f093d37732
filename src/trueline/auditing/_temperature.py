"""What temperature scaling would change, judged on samples that its temperature was not fitted on."""

import warnings
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.auditing._records import Temperature
from trueline.calibrate import TemperatureScaling
from trueline.contracts import cross_fit
from trueline.measure import Evaluation, Evaluator

FOLDS = 5
FEWEST = 30  # samples below which a temperature says more about them than about the model


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Other samples that a temperature may be fitted on.

    Args:
        labels: (M,) class numbers.
        log_probs: (M, C) log-probabilities.
        source: in words, where they come from.
    """

    labels: Int64[Tensor, " M"]
    log_probs: Float[Tensor, "M C"]
    source: str


def scale(
    evaluation: Evaluation, log_probs: Float[Tensor, "N C"], held_out: HeldOut | None, *, bins: int
) -> tuple[Temperature | None, list[str]]:
    """Fit a temperature and measure the predictions with it.

    On held-out samples where there are any; else five times on four fifths of the audited samples, each temperature
    judged on the fifth it has not seen, and once on all of them for the value that is reported.

    Args:
        evaluation: of the audited predictions as they are.
        log_probs: (N, C) their log-probabilities, in the same order.
        held_out: other samples of the same model; or None.
        bins: number of bins of the binned measures.

    Returns:
        The temperature and what it changes, or None below 30 samples and where no finite one is best; and
        what a reader should know, as sentences.
    """
    rows = evaluation.outcomes
    fitting = len(rows) if held_out is None else len(held_out.labels)
    if fitting < FEWEST:
        return None, [f"No temperature was fitted: that takes at least {FEWEST} samples, and there are {fitting}."]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scaling = TemperatureScaling()
        if held_out is None:
            scaling.fit(rows.labels, logits=log_probs, weight=rows.weight)
        else:
            scaling.fit(held_out.labels, logits=held_out.log_probs)
    if caught:
        return None, ["No finite temperature is best: the predictions to fit it on are all right, or say nothing."]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fold may be all right; its bound is then what its fifth is judged with
        after = (
            cross_fit(TemperatureScaling, rows.labels, logits=log_probs, weight=rows.weight, folds=FOLDS)
            if held_out is None
            else scaling.transform(logits=log_probs)
        )
    evaluator = Evaluator(log_probs.shape[1], bins=bins).add(rows.labels, logits=after, weight=rows.weight)
    scaled = evaluator.result()
    fitted_on = f"the {len(rows):,} audited samples" if held_out is None else held_out.source
    temperature = Temperature(
        value=scaling.temperature_,
        fitted_on=fitted_on,
        folds=FOLDS if held_out is None else None,
        samples=fitting,
        evaluation=scaled,
        change=scaled.minus(evaluation),
    )
    return temperature, []
