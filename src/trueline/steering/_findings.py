"""Choose how a model is steered, and judge the choice on other samples."""

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import trueline
from trueline.measure import evaluate
from trueline.numerics import Interval
from trueline.steer import BetaSearch, search_beta
from trueline.steering._geometry import ATTACK_STEPS, CURVATURE_STEPS, paired_share, share_of
from trueline.steering._measured import Geometry
from trueline.steering._options import SteeringOptions
from trueline.steering._record import CurvePoint, Judgement, SteeringFindings
from trueline.steering._twin import Setting, Twins, predict
from trueline.subjects import Subject, inputs_of

Progress = Callable[[int, int], None]
Logits = Mapping[str, Float[Tensor, "N C"]]
_MEASURED_BETAS = 8  # values of β at which the costly measures are taken
_PER_SAMPLE = {"robust_accuracy": share_of, "normalised_curvature": Interval.of_mean}
_PAIRED = {"robust_accuracy": paired_share, "normalised_curvature": Interval.of_mean}


class Meter:
    """Counts samples that pass through a model towards a number that was foreseen.

    Args:
        report: receives the number done and the number to do.
        total: how many will pass, at least roughly.
    """

    def __init__(self, report: Progress, total: int) -> None:
        self.done, self.total, self._report = 0, max(1, total), report

    def __call__(self, samples: int) -> None:
        self.done += samples
        self._report(min(self.done, self.total), self.total)


def find(
    subject: Subject, options: SteeringOptions, progress: Progress = lambda done, total: None
) -> tuple[SteeringFindings, Logits, Twins]:
    """Choose β on held-out samples, and compare the steered model with the model as it was on test samples.

    Args:
        subject: the model and its samples.
        options: how it is steered.
        progress: receives passes of one sample through the model, done and in all.

    Returns:
        What was found, the logits of the steered model on every split, and the twins.

    Raises:
        ValueError: if nothing can be steered, the metric cannot be had, or a group is unknown.
    """
    chooser = subject.parts[subject.chooser]
    inputs = inputs_of(chooser)
    fixed = options.beta if isinstance(options.beta, float | int) else 1.0
    grid = sorted({*map(float, options.betas), float(fixed), 1.0})
    meter = Meter(progress, _passes(subject, options, len(grid)))
    geometry = Geometry(subject, options, meter)
    twins = Twins(subject, options, inputs)
    search = _search(subject, options, geometry, inputs, grid, meter)
    setting: Setting = search.beta if isinstance(options.beta, str) else options.beta
    evaluations = [search.evaluation(beta) for beta in search.betas]
    rows: list[dict[str, Any]] = [dict(found.scores) for found in evaluations]
    for k in _measured(search.betas, setting):
        rows[k] |= _summed(geometry.of(twins.at(search.betas[k]), subject.chooser))
    if options.metric == "robust_accuracy":
        for row, value in zip(rows, search.values, strict=True):
            hits = round(value * len(geometry.few[subject.chooser]))
            row.setdefault("robust_accuracy", share_of(_hits(hits, len(geometry.few[subject.chooser]))))
    logits, judged, chosen = _judge(subject, options, geometry, twins, setting, meter)
    if not isinstance(setting, Mapping):
        chosen = rows[search.betas.index(float(setting))]
    record = twins.record
    found = SteeringFindings(
        name=subject.name,
        beta=setting,
        options=options,
        source=subject.source,
        chosen_on=(subject.chooser, len(chooser)),
        chosen=chosen,
        gain=_gain(options, search),
        curve=[CurvePoint(beta, row) for beta, row in zip(search.betas, rows, strict=True)],
        judgement=judged,
        audit={
            "before": record.before.to_dict(),
            "after": record.after.to_dict(),
            "sites": [{"name": site.name, "group": site.group, "calls": len(site.calls)} for site in record.sites],
            "missed": [call.order for call in record.remaining],
        },
        notes=(*subject.notes, *geometry.notes, *_stored(subject, logits["original"])),
        versions={"trueline": trueline.__version__, "torch": torch.__version__, "python": platform.python_version()},
        class_names=subject.class_names,
    )
    progress(meter.total, meter.total)
    return found, {split: values for split, values in logits.items() if split != "original"}, twins


def _search(
    subject: Subject, options: SteeringOptions, geometry: Geometry, inputs: Tensor, grid: Sequence[float],
    meter: Meter,
) -> BetaSearch:  # fmt: skip
    passed, samples = 0, len(grid) * len(inputs)

    def advance(done: int, total: int) -> None:
        nonlocal passed
        now = samples * done // total
        meter(now - passed)
        passed = now

    metric = geometry.metric if options.metric == "robust_accuracy" else options.metric
    if options.metric == "top_5_accuracy" and len(subject.class_names) < 6:
        raise ValueError(f"top_5_accuracy needs six classes or more, got {len(subject.class_names)}")
    return search_beta(
        subject.model,
        inputs,
        subject.parts[subject.chooser].true_labels,
        metric=metric,
        betas=grid,
        batch_norm="recalibrate" if options.batch_norm == "recalibrate" else "keep",
        **options.unit,
        batch_size=options.batch_size,
        progress=advance,
    )


def _judge(
    subject: Subject, options: SteeringOptions, geometry: Geometry, twins: Twins, setting: Setting, meter: Meter
) -> tuple[dict[str, Tensor], Judgement, dict[str, Any]]:
    """Return logits by split, and as ``original``; the comparison on test samples; scores on the chooser."""
    test, size = subject.parts["test"], options.batch_size
    before = twins.original()
    logits = {"original": predict(before, test, twins.device, size, meter)}
    first = geometry.of(before, "test")
    model = twins.at(setting)
    for split, examples in subject.parts.items():
        logits[split] = predict(model, examples, twins.device, size, meter)
    second = geometry.of(model, "test")
    one, other = (evaluate(test.true_labels, logits=logits[name]) for name in ("original", "test"))
    change = {name: _PAIRED[name](second[name] - first[name]) for name in second if name in first}
    judged = Judgement(
        samples=len(test),
        few=len(geometry.few["test"]) if first else 0,
        original={**one.scores, **_summed(first)},
        steered={**other.scores, **_summed(second)},
        difference={**other.minus(one), **change},
    )
    chooser = subject.parts[subject.chooser]
    return logits, judged, dict(evaluate(chooser.true_labels, logits=logits[subject.chooser]).scores)


def _gain(options: SteeringOptions, search: BetaSearch) -> Interval | None:
    """Return the paired difference of the metric that the search compared, chosen minus original."""
    if not options.searched or search.beta == 1:
        return None
    return search.evaluation(search.beta).minus(search.evaluation(1.0)).get(options.metric)


def _summed(values: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: _PER_SAMPLE[name](per_sample) for name, per_sample in values.items()}


def _measured(betas: Sequence[float], setting: Setting) -> list[int]:
    """Return the places of a few β, evenly over the grid, with both ends and the chosen one."""
    last = len(betas) - 1
    count = min(_MEASURED_BETAS, len(betas))
    places = {round(k * last / max(1, count - 1)) for k in range(count)} | {last}
    if not isinstance(setting, Mapping):
        places.add(betas.index(float(setting)))
    return sorted(places)


def _hits(right: int, total: int) -> Float[Tensor, " N"]:
    return (torch.arange(total) < right).double()


def _passes(subject: Subject, options: SteeringOptions, grid: int) -> int:
    """Return about how many times a sample will pass through the model, backward passes included."""
    few = {split: min(options.samples, len(subject.parts[split])) for split in (subject.chooser, "test")}
    each = 2 * ATTACK_STEPS + 2 * (1 + CURVATURE_STEPS)
    searched = grid * (len(subject.parts[subject.chooser]))
    if options.metric == "robust_accuracy":
        searched += grid * few[subject.chooser] * 2 * ATTACK_STEPS
    everything = sum(map(len, subject.parts.values())) + len(subject.parts["test"])
    return searched + everything + each * (min(grid, _MEASURED_BETAS + 1) * few[subject.chooser] + 2 * few["test"])


def _stored(subject: Subject, original: Tensor) -> list[str]:
    """Say where the model as it was does not predict what its run stored."""
    kept = None if subject.run is None else subject.run.predictions("test")
    if kept is None:
        return []
    other = int((kept.logits.argmax(1) != original.argmax(1)).sum())
    if not other:
        return []
    return [
        f"The run's stored predictions differ from those made now on {other:,} of {len(original):,} test samples, "
        "before any steering; another device or precision may be the reason. Both sides here are of today."
    ]
