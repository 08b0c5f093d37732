"""One set of predictions, read once from wherever it is, into everything the audit says about it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.auditing._classes import class_rows
from trueline.auditing._detection import detect
from trueline.auditing._mistakes import worst_mistakes
from trueline.auditing._notes import notes_on
from trueline.auditing._records import GroupRow, ModelAudit, Temperature
from trueline.auditing._sets import sets_of
from trueline.auditing._sweep import sweep
from trueline.auditing._temperature import HeldOut, scale
from trueline.calibrating import Conformed
from trueline.contracts import read_log_probs
from trueline.measure import Evaluation, Evaluator, Outcomes
from trueline.predictions import PredictionSet, rows_in_memory, sample_rows

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Examined:
    """One model before the slider stops of all models are known.

    Args:
        predictions: where everything comes from.
        evaluation: all measures of all samples.
        rows: the samples kept, all of them unless there are too many.
        log_probs: (K, C) their log-probabilities.
        temperature: what scaling would change; None where it cannot be fitted.
        sets: what the predictions are worth as sets; None where the samples are too few.
        notes: what a reader should know.
    """

    predictions: PredictionSet
    evaluation: Evaluation
    rows: Outcomes
    log_probs: Float[Tensor, "K C"]
    temperature: Temperature | None
    sets: Conformed | None
    notes: tuple[str, ...]

    def audited(self, temperatures: Float[Tensor, " T"], outside: PredictionSet | None, *, bins: int) -> ModelAudit:
        """Return the finished record.

        Args:
            temperatures: (T,) stops of the slider.
            outside: predictions of the same model on another set; or None.
            bins: number of bins of the binned measures.
        """
        found, temperature = self.evaluation, self.temperature
        return ModelAudit(
            name=self.predictions.name,
            source=self.predictions.source,
            kind=self.predictions.kind,
            evaluation=found,
            temperature=temperature,
            classes=class_rows(found, self.predictions.class_names),
            groups=tuple(GroupRow(name, group) for name, group in found.groups.items()),
            mistakes=worst_mistakes(found.outcomes, self.predictions),
            detection=() if outside is None else detect(self.predictions, outside),
            sweep=sweep(self.rows, self.log_probs, temperatures, bins=bins),
            sets=self.sets,
            notes=self.notes,
        )


def examine(predictions: PredictionSet, *, bins: int, progress: Progress | None = None) -> Examined:
    """Read a set of predictions once, measure it, fit a temperature and make prediction sets.

    Args:
        predictions: the set.
        bins: number of bins of the binned measures.
        progress: called after every block with the samples read and their number; or None.

    Returns:
        All that can be known about one model alone.

    Raises:
        ValueError: if the predictions are not what they were declared to be.

    Cost:
        Memory for one block, for at most twenty million predictions that are kept, and about 50 bytes a sample and
        ``8·C·(C + 68·M)`` bytes for the measures.
    """
    kept = rows_in_memory(len(predictions), predictions.num_classes)
    evaluation, values = _read(predictions, kept, bins, progress)
    log_probs = read_log_probs(**{predictions.kind: values})
    some = evaluation
    notes = [*predictions.notes, *notes_on(evaluation, predictions.class_names, predictions.kind)]
    if len(kept) < len(predictions):
        weight = None if predictions.weight is None else predictions.weight[kept]
        part = Evaluator(predictions.num_classes, bins=bins)
        part.add(predictions.labels[kept], weight=weight, **{predictions.kind: values})
        some = part.result()
        notes.append(
            f"Temperature and sliders use {len(kept):,} samples drawn at random from {len(predictions):,}; every other "
            "number uses all."
        )
    held_out = _held_out(predictions.held_out)
    temperature, more = scale(some, log_probs, held_out, bins=bins)
    sets = sets_of(predictions, kept, log_probs, held_out)
    return Examined(predictions, evaluation, some.outcomes, log_probs, temperature, sets, (*notes, *more))


def _read(predictions: PredictionSet, kept: Tensor, bins: int, progress: Progress | None) -> tuple[Evaluation, Tensor]:
    whole = Evaluator(predictions.num_classes, bins=bins)
    parts = [Evaluator(predictions.num_classes, bins=bins) for _ in predictions.group_names]
    values, start, counted = [], 0, set()
    for block in predictions.blocks():
        stop = start + len(block)
        labels = predictions.labels[start:stop]
        weight = None if predictions.weight is None else predictions.weight[start:stop]
        whole.add(labels, weight=weight, **{predictions.kind: block})
        if predictions.groups is not None:
            groups = predictions.groups[start:stop]
            for g in groups.bincount().nonzero().squeeze(1).tolist():
                rows = groups == g
                own = None if weight is None else weight[rows]
                parts[g].add(labels[rows], weight=own, **{predictions.kind: block[rows]})
                if own is None or own.any():  # a group without weight is as if it were not there
                    counted.add(g)
        first, last = torch.searchsorted(kept, torch.tensor([start, stop])).tolist()
        values.append(block[kept[first:last] - start])
        start = stop
        if progress is not None:
            progress(start, len(predictions))
    groups_found = {predictions.group_names[g]: parts[g].result() for g in sorted(counted)}
    return whole.result(groups=groups_found), torch.cat(values)


def _held_out(predictions: PredictionSet | None) -> HeldOut | None:
    if predictions is None:
        return None
    rows = rows_in_memory(len(predictions), predictions.num_classes)
    log_probs = read_log_probs(**{predictions.kind: sample_rows(predictions, rows)})
    return HeldOut(predictions.labels[rows], log_probs, f"{len(rows):,} other samples, {predictions.source}")
