"""The results of an audit as records: what the page, the command line and the caller all read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrating import Conformed
from trueline.measure import Evaluation
from trueline.numerics import Interval


@dataclass(frozen=True)
class Temperature:
    """What dividing all logits by one temperature would change.

    Args:
        value: the temperature fitted on all samples it may be fitted on; above 1 softens.
        fitted_on: in words, such as ``"the 5,000 held-out samples"``.
        folds: number of folds of the cross-validation that ``evaluation`` comes from; None where the temperature was
            fitted on other samples than those audited.
        samples: number of samples it was fitted on.
        evaluation: all measures after scaling; cross-validated, unless fitted on other samples.
        change: score after minus score before on the same samples, by measure.
    """

    value: float
    fitted_on: str
    folds: int | None
    samples: int
    evaluation: Evaluation
    change: Mapping[str, Interval]


@dataclass(frozen=True)
class ClassRow:
    """What the predictions say about one class.

    Args:
        name: the class.
        samples: number of samples with this label.
        predicted: number of samples predicted to be of this class.
        recall: share of its samples that are predicted right; the value is NaN without samples.
        precision: share of its predictions that are right; the value is NaN without predictions.
        confidence: mean confidence where it is predicted; NaN without predictions.
        gap: ``confidence`` minus the precision; above zero where the class is promised too often. NaN likewise.
        calibration_error: binned distance between the probability of this class and its frequency, over all samples.
    """

    name: str
    samples: int
    predicted: int
    recall: Interval
    precision: Interval
    confidence: float
    gap: float
    calibration_error: float


@dataclass(frozen=True)
class GroupRow:
    """All measures within one group of samples.

    Args:
        name: the group.
        evaluation: all measures over its samples.
    """

    name: str
    evaluation: Evaluation


@dataclass(frozen=True)
class Mistake:
    """One confidently wrong prediction.

    Args:
        index: position of the sample in the audited set.
        label: the given class.
        prediction: the predicted class.
        confidence: probability of the prediction.
        label_probability: probability of the label.
        picture: PNG data URI of its image, or None without images.
    """

    index: int
    label: int
    prediction: int
    confidence: float
    label_probability: float
    picture: str | None


@dataclass(frozen=True)
class Detection:
    """How well one score tells the audited samples from those of another set, out of distribution.

    Args:
        score: what is compared, such as ``"confidence"``.
        samples: number of samples of the other set.
        auroc: chance that an audited sample has the higher score; ties count half.
        fpr95: share of the other set that still passes the threshold that 95 % of the audited samples pass.
    """

    score: str
    samples: int
    auroc: Interval
    fpr95: Interval


@dataclass(frozen=True, eq=False)
class Sweep:
    """Everything the sliders show, exact at every stop; T temperatures, H thresholds, M bins, P coverages.

    A sample is answered at a threshold h if its confidence is at least h.

    Args:
        temperatures: (T,) increasing; holds 1 and the fitted temperature of every model.
        thresholds: (H,) increasing confidences, from 0.
        coverages: (P,) increasing shares of samples, from 1/P to 1.
        samples: number of samples behind these numbers; fewer than audited if there are too many.
        edges: (M+1,) edges of the confidence bins, of equal width.
        count: (T, M) samples in each bin.
        confidence: (T, M) mean confidence; NaN in an empty bin.
        accuracy: (T, M) share of right predictions; NaN in an empty bin.
        interval_low: (T, M) lower end of the accuracy's Wilson interval.
        interval_high: (T, M) upper end.
        null_low: (T, M) lower end of the band in which the accuracy of a calibrated model would lie.
        null_high: (T, M) upper end.
        calibration_error: (T,) expected calibration error.
        noise: (T,) calibration error that a calibrated model stays below in 95 % of samples of this size.
        log_loss: (T,) mean log loss in nats.
        brier: (T,) mean Brier score.
        gap: (T,) mean confidence minus accuracy.
        answered: (T, H) samples answered, by weight; their number without weights.
        errors: (T, H) those that are wrong, by weight.
        risk: (T, P) share of errors among the most confident samples, by coverage.
        cells: (K, 2) label and prediction of the cells of the confusion matrix that are shown.
        confusion: (T, K, H) number of samples answered in each of these cells.
    """

    temperatures: Float[Tensor, " T"]
    thresholds: Float[Tensor, " H"]
    coverages: Float[Tensor, " P"]
    samples: int
    edges: Float[Tensor, " E"]
    count: Int64[Tensor, "T M"]
    confidence: Float[Tensor, "T M"]
    accuracy: Float[Tensor, "T M"]
    interval_low: Float[Tensor, "T M"]
    interval_high: Float[Tensor, "T M"]
    null_low: Float[Tensor, "T M"]
    null_high: Float[Tensor, "T M"]
    calibration_error: Float[Tensor, " T"]
    noise: Float[Tensor, " T"]
    log_loss: Float[Tensor, " T"]
    brier: Float[Tensor, " T"]
    gap: Float[Tensor, " T"]
    answered: Float[Tensor, "T H"]
    errors: Float[Tensor, "T H"]
    risk: Float[Tensor, "T P"]
    cells: Int64[Tensor, "K two"]
    confusion: Int64[Tensor, "T K H"]


@dataclass(frozen=True)
class ModelAudit:
    """What was found about one model.

    Args:
        name: how the page calls it.
        source: in words, where its predictions come from.
        kind: whether logits or probabilities were given.
        evaluation: all measures of the predictions as they are.
        temperature: what temperature scaling would change; None where it cannot be fitted.
        classes: one row per class, in their order.
        groups: one row per group, in their order; empty without groups.
        mistakes: the most confidently wrong samples first.
        detection: scores against another set; empty without one.
        sweep: numbers behind the sliders.
        sets: what the predictions are worth as sets of classes; None where the samples are too few.
        notes: what a reader should know about the input, as sentences.
    """

    name: str
    source: str
    kind: Literal["logits", "probs"]
    evaluation: Evaluation
    temperature: Temperature | None
    classes: tuple[ClassRow, ...]
    groups: tuple[GroupRow, ...]
    mistakes: tuple[Mistake, ...]
    detection: tuple[Detection, ...]
    sweep: Sweep
    sets: Conformed | None
    notes: tuple[str, ...]

    @property
    def refinement(self) -> Interval | None:
        """Log loss in nats that is left once a temperature has been fitted: what calibration cannot repair."""
        return None if self.temperature is None else self.temperature.evaluation.scores["log_loss"]


@dataclass(frozen=True)
class Comparison:
    """Paired differences of one model from the first, on the same samples.

    Args:
        model: its name.
        baseline: the first model's name.
        before: its score minus the first's, by measure.
        after: the same after each model's own temperature; None unless both have one.
    """

    model: str
    baseline: str
    before: Mapping[str, Interval]
    after: Mapping[str, Interval] | None
