"""Prediction sets from one set of predictions: thresholds that are kept, and an honest judgement of such sets."""

import warnings
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from trueline.calibrating._conformed import Conformed, LargeSet, SetPoint
from trueline.calibrating._conformed_words import conformed_verdict
from trueline.calibrating._findings import SEEN, warned
from trueline.calibrating._samples import Samples, notes_on_input, read_samples
from trueline.calibrating._sets import SCORES, sets_named
from trueline.conformal import evaluate_sets
from trueline.contracts import ConformalClassifier
from trueline.page import percent, png_uri
from trueline.predictions import PredictionSet

FEWEST = 20  # samples below which neither a threshold nor its judgement says anything
SHOWN = 24
_NAMED = 12  # groups that are named in a note
_ALPHAS = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)

Pictures = Callable[[Int64[Tensor, " K"]], UInt8[Tensor, "K channels H W"]]


def conform(
    predictions: PredictionSet,
    *,
    alpha: float = 0.1,
    method: str = "lac",
    conditional: str = "none",
    pictures: Pictures | None = None,
    seed: int = 0,
) -> Conformed:
    """Fit prediction sets that hold the label in a share of ``1 - alpha``, and judge such sets on other samples.

    Where ``predictions.held_out`` has other samples of the same model, thresholds are fitted to those and judged on the
    set. Else a random half of the samples gives the thresholds that the other half judges, and the thresholds that are
    kept are fitted to all.

    Args:
        predictions: of a trained model, on samples that were used for nothing else: neither training nor early
            stopping nor a calibration map.
        alpha: wanted rate of misses, in (0, 1).
        method: the score, a key of ``SCORES``.
        conditional: what thresholds may depend on: ``"none"``, ``"class"``, ``"cluster"`` of classes, or ``"group"`` of
            the samples.
        pictures: gives the pictures of some samples; those of the predictions if None.
        seed: chooses the halves.

    Returns:
        The thresholds, and coverage and sizes of such sets by class, group and size.

    Raises:
        ValueError: if an option is unknown, ``alpha`` lies outside (0, 1), there are fewer than 20 samples to fit to or
            to judge, groups are wanted where there are none, or predictions are not what they should be.

    Example:
        >>> import torch
        >>> from trueline.predictions import from_arrays
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = 3 * torch.randn(600, 5, generator=generator)
        >>> labels = logits.softmax(1).multinomial(1, generator=generator).squeeze(1)
        >>> found = conform(from_arrays(labels, logits=logits), alpha=0.1)
        >>> found.report.expected_low <= found.report.coverage.value <= found.report.expected_high
        True
    """
    kept = sets_named(method, alpha, conditional)
    given = [one for one in (predictions, predictions.held_out) if one is not None]
    for one in given:
        if kept.takes_groups and one.groups is None:
            raise ValueError(
                f"thresholds by group need groups, which {one.source} lack; give a file with a column 'group' or an "
                "array 'groups'"
            )
    group_names = tuple(dict.fromkeys(name for one in given for name in one.group_names))
    whole = read_samples(predictions, group_names)
    notes = list(notes_on_input(predictions, whole))
    if any(one.weight is not None for one in given):
        notes.append("Weights are left aside: the promise is about samples that all count alike.")
    if predictions.held_out is None:
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
        middle = len(order) // 2
        fitting, judged = (whole.part(rows.sort().values) for rows in (order[:middle], order[middle:]))
        every, fitted_on = whole, f"all {len(whole):,} samples"
        notes.append(
            f"A random half of the samples, {len(fitting):,}, gave the thresholds that the other {len(judged):,} "
            "judge; the thresholds that are kept come from all of them."
        )
    else:
        every = fitting = read_samples(predictions.held_out, group_names)
        judged, fitted_on = whole, f"{len(every):,} other samples, {predictions.held_out.source}"
    if min(len(fitting), len(judged)) < FEWEST:
        raise ValueError(
            f"at least {FEWEST} samples are needed to fit thresholds to and {FEWEST} to judge them, got {len(fitting)} "
            f"and {len(judged)}"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept.fit(every.labels, logits=every.log_probs, groups=every.groups if kept.takes_groups else None)
    notes += warned(caught)
    if kept.takes_groups:
        notes += _notes_on_groups(every, judged, group_names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a half may be too small where the whole is not; the sizes show it
        trial = _fit(kept.unfitted(), fitting)
        share = trial.share_seen(logits=judged.log_probs)
        if share >= SEEN:
            notes.append(
                f"About {percent(share)} of the samples that gave the thresholds are among those that judge them, so "
                "the coverage below promises nothing. Judge on other samples."
            )
        sets = _sets(trial, judged)
        p_values = trial.p_values(logits=judged.log_probs, groups=_groups(trial, judged))
        report = evaluate_sets(
            judged.labels,
            sets,
            alpha,
            groups=judged.groups,
            calibration_samples=len(fitting) if conditional == "none" else None,
        )
        others = [_point(name, alpha, judged, _sets(_fit(SCORES[name](alpha), fitting), judged)) for name in SCORES]
    curve = [_point(method, one, judged, p_values > one) for one in sorted({*_ALPHAS, alpha})]
    return Conformed(
        name=predictions.name,
        source=predictions.source,
        method=method,
        conditional=conditional,
        alpha=alpha,
        conformal=kept,
        report=report,
        calibrated=len(fitting),
        fitted_on=fitted_on,
        curve=tuple(curve),
        others=tuple(others),
        largest=tuple(_largest(judged, sets, pictures or predictions.images)),
        class_names=predictions.class_names,
        group_names=group_names if predictions.groups is not None else (),
        verdict=conformed_verdict(report, conditional, predictions.class_names, group_names),
        notes=tuple(notes),
    )


def _groups(method: ConformalClassifier, samples: Samples) -> Int64[Tensor, " N"] | None:
    return samples.groups if method.takes_groups else None


def _fit(method: ConformalClassifier, samples: Samples) -> ConformalClassifier:
    return method.fit(samples.labels, logits=samples.log_probs, groups=_groups(method, samples))


def _sets(method: ConformalClassifier, samples: Samples) -> Bool[Tensor, "N C"]:
    return method.predict_set(logits=samples.log_probs, groups=_groups(method, samples))


def _notes_on_groups(every: Samples, judged: Samples, names: Sequence[str]) -> Iterator[str]:
    assert every.groups is not None
    assert judged.groups is not None
    if list(names) != [str(number) for number in range(len(names))]:
        order = ", ".join(f"{number} for {name}" for number, name in enumerate(names[:_NAMED]))
        rest = ", ..." if names[_NAMED:] else ""
        yield f"The thresholds that are kept know the groups by their numbers: {order}{rest}."
    if unknown := [names[group] for group in sorted({*judged.groups.tolist()} - {*every.groups.tolist()})]:
        yield f"No sample of group {', '.join(unknown[:_NAMED])} gave a threshold: such sets hold every class."


def _point(name: str, alpha: float, judged: Samples, sets: Bool[Tensor, "N C"]) -> SetPoint:
    sizes = sets.sum(dim=1)
    return SetPoint(
        method=name,
        alpha=alpha,
        coverage=sets.gather(1, judged.labels[:, None]).double().mean().item(),
        size=sizes.double().mean().item(),
        empty=(sizes == 0).double().mean().item(),
    )


def _largest(judged: Samples, sets: Bool[Tensor, "N C"], pictures: Pictures | None) -> Iterator[LargeSet]:
    sizes = sets.sum(dim=1)
    places = sizes.argsort(descending=True, stable=True)[:SHOWN].sort().values
    shown = _shown(pictures, judged.rows[places])
    found = [
        LargeSet(int(judged.rows[place]), int(judged.labels[place]), _ranked(sets[place], judged.log_probs[place]), uri)
        for place, uri in zip(places.tolist(), shown, strict=True)
    ]
    yield from sorted(found, key=lambda one: -len(one.classes))


def _shown(pictures: Pictures | None, rows: Tensor) -> Sequence[str | None]:
    if pictures is None:
        return [None] * len(rows)
    try:
        images = pictures(rows)
    except ValueError:  # a run keeps the pictures of its mistakes only
        return [None] * len(rows)
    return [png_uri(image) for image in images]


def _ranked(members: Bool[Tensor, " C"], log_probs: Float[Tensor, " C"]) -> tuple[int, ...]:
    order = log_probs.argsort(descending=True, stable=True)
    return tuple(order[members[order]].tolist())
