"""Every measure of predictions that arrive in blocks, in one pass and from bounded memory."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_labels, check_predictions, check_weight, row_blocks
from trueline.measure import _calibration_error, _calibration_interval, _corp, _ks, _smooth
from trueline.measure._brier_decomposition import BrierSums
from trueline.measure._cells import gather_cells, statistics
from trueline.measure._evaluation import Evaluation, Z
from trueline.measure._measures import MEASURES
from trueline.measure._outcomes import Outcomes, joined, reduce_rows
from trueline.measure._resampling import FEWEST, effective_error, percentile, reflected
from trueline.measure._risk_coverage import RiskCoverage
from trueline.numerics import Interval, bin_index, wilson_interval

DRAWS = 1000
BATCHES = 64  # parts of the samples whose sums are resampled for the classwise error
_NULL_WORK = 2e8  # hits simulated for the noise; a million samples leave 200 draws of 1,000
_CLASSWISE_DRAWS = 200


class Evaluator:
    """Gathers predictions block by block, or process by process, and measures them at the end.

    Of every sample a row of about 50 bytes is kept, and of every class sums over bins; the predictions are not.

    Args:
        num_classes: the number C of classes, at least two.
        bins: number M of bins of the binned measures.

    Cost:
        About 50·N + 8·C·(C + 68·M) bytes, and the block at hand.

    Example:
        >>> import torch
        >>> evaluator = Evaluator(2)
        >>> for labels, probs in [([0], [[0.9, 0.1]]), ([1, 1], [[0.2, 0.8], [0.4, 0.6]])]:
        ...     evaluator = evaluator.add(torch.tensor(labels), probs=torch.tensor(probs))
        >>> evaluator.result().scores["accuracy"].value
        1.0
    """

    def __init__(self, num_classes: int, *, bins: int = 15) -> None:
        self.num_classes = num_classes
        self.bins = bins
        self._rows: list[Outcomes] = []
        self._brier = BrierSums(num_classes, bins)
        self._batches = torch.zeros(BATCHES, num_classes * bins, dtype=torch.float64)
        self._batch_weight = torch.zeros(BATCHES, dtype=torch.float64)
        self._confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self._seen = 0

    def add(
        self,
        labels: Int64[Tensor, " N"],
        *,
        logits: Float[Tensor, "N *C"] | None = None,
        probs: Float[Tensor, "N *C"] | None = None,
        weight: Float[Tensor, " N"] | None = None,
    ) -> "Evaluator":
        """Add a block of predictions.

        Args:
            labels: (N,) class numbers, int64.
            logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
            probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
            weight: (N,) weights of the samples, at least zero; None for ones. Given always or never.

        Returns:
            Itself.

        Raises:
            ValueError: if the predictions, labels or weights are not what they should be; nothing is then added.
        """
        values = check_predictions(logits=logits, probs=probs).detach()
        if values.shape[1] != self.num_classes:
            raise ValueError(f"expected predictions of {self.num_classes} classes, got {values.shape[1]}")
        check_labels(labels, *values.shape)
        if weight is not None:
            check_weight(weight, len(labels), some_positive=False)
        if self._rows and (self._rows[0].weight is None) != (weight is None):
            raise ValueError("weights must be given with every block or with none")
        rows = reduce_rows(labels, values, weight, normalised=probs is not None)
        self._rows.append(rows)
        pairs = rows.labels * self.num_classes + rows.predictions
        self._confusion += torch.bincount(pairs, minlength=self.num_classes**2).view_as(self._confusion)
        for block, label, row in row_blocks(values.cpu(), rows.labels, torch.arange(len(labels))):
            chance = block if probs is not None else block.double().softmax(dim=1)
            share = None if rows.weight is None else rows.weight[row]
            index = bin_index(chance, self._brier.edges)
            self._brier.add(label, chance, share, index=index)
            self._add_residuals(label, chance, share, index, (self._seen + row) % BATCHES)
        self._seen += len(labels)
        return self

    def merge(self, other: "Evaluator") -> "Evaluator":
        """Return an evaluator of the samples of both, these first; neither changes.

        Args:
            other: with the same classes and bins.

        Raises:
            ValueError: if classes, bins or the use of weights differ.
        """
        if (self.num_classes, self.bins) != (other.num_classes, other.bins):
            raise ValueError("only evaluators with the same classes and bins can be merged")
        if self._rows and other._rows and (self._rows[0].weight is None) != (other._rows[0].weight is None):
            raise ValueError("only evaluators that both have weights, or both none, can be merged")
        merged = Evaluator(self.num_classes, bins=self.bins)
        merged._rows = [*self._rows, *other._rows]
        merged._brier = self._brier.merge(other._brier)
        for name in ("_batches", "_batch_weight", "_confusion", "_seen"):
            setattr(merged, name, getattr(self, name) + getattr(other, name))
        return merged

    def result(self, *, groups: dict[str, Evaluation] | None = None, seed: int = 0) -> Evaluation:
        """Return the measures of all samples added so far.

        Args:
            groups: evaluations of groups of these samples, to be kept with the result.
            seed: of the resampling and the simulation.

        Raises:
            ValueError: if there are no samples, or none has a weight above zero.
        """
        if not self._rows:
            raise ValueError("expected at least one sample, got none; add predictions first")
        rows = joined(self._rows)
        if not rows.weights.any():
            raise ValueError("expected at least one sample with a weight above zero, got none; add further ones")
        self._rows = [rows]
        generator = torch.Generator().manual_seed(seed)
        draws = int(min(DRAWS, max(100, _NULL_WORK / len(rows))))
        null = rows.null_calibration(bins=self.bins, draws=draws, generator=generator)
        curve = rows.risk_coverage()
        class_errors = self._batches.sum(dim=0).view(self.num_classes, -1).abs().sum(dim=1) / rows.weights.sum()
        return Evaluation(
            samples=len(rows),
            confidence=rows.share(rows.confidence),
            scores=self._scores(rows, curve, class_errors, generator),
            noise=null.error_limit,
            reliability=rows.reliability(bins=self.bins),
            null=null,
            risk_coverage=curve,
            brier_parts=self._brier.result(),
            corp=_corp.from_top_label(rows.confidence, rows.hit, weight=rows.weight, score="brier"),
            class_errors=class_errors,
            confusion=self._confusion.clone(),
            outcomes=rows,
            groups=groups or {},
        )

    def _add_residuals(
        self, labels: Tensor, probs: Tensor, weight: Tensor | None, index: Tensor, batch: Tensor
    ) -> None:
        """Add probability minus outcome of every class to the bin of that probability, batch by batch."""
        cells = index + torch.arange(0, self.num_classes * self.bins, self.bins)
        cells += batch[:, None] * (self.num_classes * self.bins)
        miss = probs.double().scatter_add(1, labels[:, None], torch.full((len(labels), 1), -1.0, dtype=torch.float64))
        share = torch.ones(len(labels), dtype=torch.float64) if weight is None else weight
        self._batches.view(-1).index_add_(0, cells.flatten(), (miss * share[:, None]).flatten())
        self._batch_weight.index_add_(0, batch, share)

    def _scores(
        self, rows: Outcomes, curve: RiskCoverage, class_errors: Tensor, generator: torch.Generator
    ) -> dict[str, Interval]:
        n, confidence = rows.effective, rows.share(rows.confidence)
        found = {"accuracy": _rate(rows.share(rows.hit), n)}
        if self.num_classes > 5:
            found["top_5_accuracy"] = _rate(rows.share(rows.top_5), n)
        for name in ("log_loss", "brier"):
            found[name] = _mean(getattr(rows, name), rows)
        accuracy = found["accuracy"]
        ends = (confidence - accuracy.high, confidence - accuracy.low)
        found["confidence_gap"] = Interval(confidence - accuracy.value, *ends)
        found["ece"] = _calibration_interval.from_top_label(
            rows.confidence, rows.hit, weight=rows.weight, bins=self.bins, draws=DRAWS, generator=generator
        )
        errors = self._errors(rows, curve)
        cells, width = gather_cells(rows, self.bins), max(errors["smooth_ece"], 1e-3)
        resampled = statistics(cells, *cells.resample(DRAWS, generator), width)
        resampled["ece_classwise"] = self._resample_classes(generator)
        errors["ece_classwise"] = class_errors.mean().item()
        for name, value in errors.items():
            interval = percentile if name.endswith("aurc") else reflected
            ends = (-math.inf, math.inf) if len(rows) < FEWEST else interval(value, resampled[name])
            found[name] = Interval(value, *ends)
        return {name: found[name] for name in MEASURES if name in found}

    def _errors(self, rows: Outcomes, curve: RiskCoverage) -> dict[str, float]:
        def binned(*, binning: Literal["width", "mass"] = "width", norm: float = 1, debias: bool = False) -> float:
            error = _calibration_error.from_top_label(
                *top, weight=rows.weight, bins=self.bins, binning=binning, norm=norm, debias=debias
            )
            return error.item()

        top = rows.confidence, rows.hit
        return {
            "mce": binned(norm=math.inf),
            "ace": binned(binning="mass"),
            "ece_rms": binned(norm=2),
            "ece_debiased": binned(binning="mass", norm=2, debias=True),
            "ks": _ks.from_top_label(*top, weight=rows.weight).item(),
            "smooth_ece": _smooth.from_top_label(*top, weight=rows.weight).item(),
            "aurc": curve.area,
            "excess_aurc": curve.excess_area,
        }

    def _resample_classes(self, generator: torch.Generator) -> Tensor:
        """Resample batches of samples: residuals of the classes depend on each other, so samples must stay whole."""
        used = self._batch_weight > 0
        sums, weight = self._batches[used], self._batch_weight[used]
        # The usual n/(n-1) of a variance matters for few batches, so one batch less is drawn.
        number = max(1, len(sums) - 1)
        drawn = torch.randint(len(sums), (_CLASSWISE_DRAWS, number), generator=generator)
        times = torch.zeros(_CLASSWISE_DRAWS, len(sums), dtype=torch.float64)
        times.scatter_add_(1, drawn, torch.ones(drawn.shape, dtype=torch.float64))
        return (times @ sums).abs().sum(dim=1) / (times @ weight) / self.num_classes


def _rate(share: float, trials: float) -> Interval:
    low, high = wilson_interval(torch.tensor(share, dtype=torch.float64), torch.tensor(trials))
    return Interval(share, low.item(), high.item())


def _mean(values: Tensor, rows: Outcomes) -> Interval:
    mean = rows.share(values)
    if len(rows) < FEWEST:
        return Interval(mean, -math.inf, math.inf)
    half = Z * effective_error(values, rows.weights)
    return Interval(mean, mean - half, mean + half)
