"""Run probes on a model, within a limit in time if there is one."""

import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

import trueline
from trueline.contracts import unknown_name
from trueline.probe import NotPiecewiseLinearError
from trueline.probing._catalogue import PROBES, ProbeEntry
from trueline.probing._records import Measured, Probed, ProbingFindings
from trueline.probing._setting import Setting
from trueline.subjects import Subject

Clock = Callable[[], float]
_CAUTION = 0.8  # of what seems to fit
_GROWTH = 16  # times as many samples at once: what a few of them cost says little about very many


def probe_subject(
    subject: Subject,
    what: Sequence[str] | None = None,
    *,
    catalogue: Mapping[str, ProbeEntry] = PROBES,
    split: str | None = None,
    samples: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    initial: nn.Module | Mapping[str, Shaped[Tensor, "..."]] | None = None,
    chunk_size: int = 64,
    progress: Callable[[int, int], None] = lambda done, total: None,
    clock: Clock = time.monotonic,
) -> ProbingFindings:
    """Probe a model: all probes of a catalogue that apply to it, or those that are named.

    Every probe of a split sees the same samples, drawn at random by the seed, fewer of them being the first of more. A
    probe that fails, or that the model or the samples do not allow, does not lose the others: its reason is kept.

    With a limit in time, what is left of it is shared evenly among the probes that are still to come. A probe is tried
    on a few samples first; from the time that they took, as many more follow as seem to fit into four fifths of its
    share, at most 16 times as many at a step. What it gained until then is its result, and when the time is up the rest
    is left out. The limit can be overrun by one trial on few samples (a probe does not stop half-way), and by what a
    step takes longer than foreseen. Apart from the limit nothing depends on the clock.

    Args:
        subject: of :func:`trueline.subjects.subject_of_run` or :func:`trueline.subjects.subject_of_model`.
        what: keys of the catalogue; None for all.
        catalogue: the probes; those of the geometry of the network by default.
        split: which samples; None for training samples where a probe is about training and they are known, and for
            test samples otherwise.
        samples: how many at most; None for what each probe takes by default.
        minutes: limit in time, above 0; None for none.
        seed: chooses samples and random directions.
        initial: the weights that training began with: a module like the subject's, or its state dict. None for those of
            epoch 0 that a run has kept.
        chunk_size: samples that pass through the model at once; it changes the memory, not the answer.
        progress: receives the number of probes done and to do.
        clock: seconds since any moment.

    Returns:
        What was found, probe by probe, and what was left out.

    Raises:
        ValueError: if a probe or a split is unknown, or a number is out of range.

    Example:
        >>> from trueline.data import Examples
        >>> from trueline.subjects import subject_of_model
        >>> model, labels = nn.Linear(2, 2), torch.tensor([0, 1, 1, 0])
        >>> held_out = Examples(torch.eye(4, 2), labels, labels, ("no", "yes"), torch.arange(4))
        >>> subject = subject_of_model(model, held_out, name="linear", halves=False)
        >>> found = probe_subject(subject, ["regions", "arrangement"])
        >>> found["regions"].records["trace_segment"].crossings.sum().item()
        0
        >>> found.left_out[0].reason
        'the model has no convolution with a kernel of more than one pixel'
    """
    names = _names(what, catalogue)
    _check(subject, split, samples, minutes, seed, chunk_size)
    setting = Setting(subject, seed=seed, chunk_size=chunk_size, initial=initial)
    began = clock()
    limit = math.inf if minutes is None else 60 * minutes
    probes = []
    for place, name in enumerate(names):
        progress(place, len(names))
        share = (began + limit - clock()) / (len(names) - place)
        probes.append(_probed(name, catalogue[name], setting, split, samples, share, clock))
    progress(len(names), len(names))
    return ProbingFindings(
        name=subject.name,
        probes=tuple(probes),
        source=dict(subject.source),
        seed=seed,
        minutes=minutes,
        seconds=clock() - began,
        notes=(*subject.notes, *_about_training(subject, [catalogue[name] for name in names], split)),
        class_names=subject.class_names,
        versions={"trueline": trueline.__version__, "torch": torch.__version__, "python": platform.python_version()},
    )


def _probed(
    name: str, entry: ProbeEntry, setting: Setting, split: str | None, samples: int | None, share: float, clock: Clock
) -> Probed:
    parts = setting.subject.parts
    where = split or ("train" if entry.of_training and "train" in parts else "test")
    available = len(parts[where])
    wanted = entry.samples
    if entry.counts != "regions":
        wanted = min(available, entry.samples if samples is None or not entry.counts else samples)
    found, used, failed, reason, began = None, 0, False, "", clock()
    if share <= 0:
        reason = "the time was up"
    else:
        try:
            reason = entry.refusal(setting, where)
            if not reason:
                found, used = within(entry, setting, where, wanted, share, clock)
        except NotPiecewiseLinearError as error:
            reason = f"the network is not piecewise linear: {error}"
        except Exception as error:  # whatever one probe meets, the others are not lost
            failed, reason = True, _in_words(error)
    return Probed(
        name=name,
        title=entry.title,
        question=entry.question,
        found=found,
        reason=reason,
        failed=failed,
        split=where,
        counts=entry.counts,
        used=used,
        wanted=wanted,
        available=available,
        seconds=clock() - began,
        references=entry.references,
        told=entry.told,
    )


def within(
    entry: ProbeEntry, setting: Setting, split: str, wanted: int, seconds: float, clock: Clock
) -> tuple[Measured, int]:
    """Return the result on as many samples as fit into a time, and their number.

    Args:
        entry: the probe.
        setting: the model.
        split: of the samples.
        wanted: how many at most.
        seconds: the time; infinite for no limit.
        clock: tells the time.
    """
    least = max(entry.pilot, 2 * len(setting.subject.class_names)) if entry.balanced else entry.pilot
    count = wanted if math.isinf(seconds) or not entry.counts else min(wanted, least)
    end = clock() + seconds
    while True:
        began = clock()
        rows = 3 if entry.counts == "regions" else count
        found = entry.measure(setting, setting.batch(split, rows, balanced=entry.balanced), count)
        now = clock()
        fits = _CAUTION * (end - now) / (now - began) * count if now > began else math.inf
        more = int(min(wanted, fits, _GROWTH * count))
        if count >= wanted or more < min(2 * count, wanted):
            return found, count
        count = more


def _names(what: Sequence[str] | None, catalogue: Mapping[str, ProbeEntry]) -> list[str]:
    if what is None:
        return list(catalogue)
    if isinstance(what, str):
        raise TypeError(f"what must be a list of names, got the text {what!r}; pass [{what!r}]")
    for name in what:
        if name not in catalogue:
            raise ValueError(unknown_name("probe", name, catalogue))
    return [name for name in catalogue if name in what]


def _check(
    subject: Subject, split: str | None, samples: int | None, minutes: float | None, seed: int, chunk_size: int
) -> None:
    if split is not None and split not in subject.parts:
        raise ValueError(f"{subject.name} has no samples called {split!r}; it has {', '.join(subject.parts)}")
    for name, value in {"samples": samples, "chunk_size": chunk_size}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    if minutes is not None and not 0 < minutes < math.inf:
        raise ValueError(f"minutes must be above 0 and finite, got {minutes}")


def _about_training(subject: Subject, entries: Sequence[ProbeEntry], split: str | None) -> list[str]:
    """Say where samples that the model was trained on are wanted and not known."""
    about = [entry.title.lower() for entry in entries if entry.of_training]
    if not about or "train" in subject.parts or split is not None:
        return []
    listed = about[0] if len(about) == 1 else f"{', '.join(about[:-1])} and {about[-1]}"
    return [
        f"What the model was trained on is not known here, so {listed} are of the given samples; on training samples "
        "they would be other numbers."
    ]


def _in_words(error: Exception) -> str:
    said = str(error).strip().rstrip(".") or "no message"
    expected = isinstance(error, ValueError | TypeError)
    return said if expected else f"{type(error).__name__}: {said}"
