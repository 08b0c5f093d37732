"""The audit of a model that can be run: its predictions, its geometry and its explanations, in one report."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.auditing._audit import Audit, audit_predictions
from trueline.contracts import left_as_found, unknown_name
from trueline.data import Examples
from trueline.explaining import EXPLANATIONS
from trueline.predictions import PredictionSet, from_arrays, read_predictions
from trueline.probing import PROBES, ProbeEntry, ProbingFindings, probe_subject
from trueline.subjects import Subject, inputs_of

_AT_ONCE = 256


def audit_model(
    subject: Subject,
    *,
    minutes: float = 5.0,
    what: Sequence[str] | None = None,
    split: str = "test",
    title: str | None = None,
    name: str | None = None,
    bins: int = 15,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    clock: Callable[[], float] = time.monotonic,
) -> Audit:
    """Audit a model by what it predicts, by the shape of the function that it computes, and by what explains it.

    The predictions of a run are those that it saved; any other model is run over its samples, in evaluation mode, and
    left as found. They are audited as :func:`audit_predictions` does. What is left of the time goes to the probes of
    :func:`trueline.probing.probe_subject`, whose limit can be overrun as it says there: half of it to the explanations,
    and what they leave of theirs to the geometry.

    Args:
        subject: of :func:`trueline.subjects.subject_of_run` or :func:`trueline.subjects.subject_of_model`.
        minutes: limit in time, above 0.
        what: keys of ``trueline.probing.PROBES`` and ``trueline.explaining.EXPLANATIONS``; None for all.
        split: the samples that are audited. Probes about training take training samples where these are known.
        title: heading of the page; named after the model if None.
        name: what a reader calls the model; the subject's own name if None.
        bins: number of bins of the binned measures.
        seed: draws the samples of the probes, and random directions.
        progress: receives the number of probes done and to do.
        clock: seconds since any moment.

    Returns:
        The audit, with ``geometry`` and ``explanations``, of which one is None if ``what`` names nothing of it.

    Raises:
        ValueError: if there is no such split, the model's outputs are no logits, or an option is out of range.

    Example:
        >>> from trueline.subjects import subject_of_model
        >>> labels = torch.arange(40) % 2
        >>> held_out = Examples(torch.randn(40, 2), labels, labels, ("no", "yes"), torch.arange(40))
        >>> found = audit_model(subject_of_model(torch.nn.Linear(2, 2), held_out, name="linear", halves=False))
        >>> found.geometry["regions"].records["trace_segment"].crossings.sum().item()
        0
    """
    if split not in subject.parts:
        raise ValueError(f"{subject.name} has no samples called {split!r}; it has {', '.join(subject.parts)}")
    if not minutes > 0:
        raise ValueError(f"minutes must be above 0, got {minutes}")
    began = clock()
    if subject.run is not None:
        predictions = read_predictions(subject.run.path, split=split, name=name)
    else:
        predictions = _predicted(subject, split, name or subject.name)
    found = audit_predictions([predictions], title=title, bins=bins)
    geometry, explanations = _asked(what, PROBES), _asked(what, EXPLANATIONS)
    if unknown := set(what or ()).difference(geometry, explanations):
        raise ValueError(unknown_name("probe", min(unknown), [*PROBES, *EXPLANATIONS]))

    def probed(names: list[str], catalogue: Mapping[str, ProbeEntry], share: float, before: int) -> ProbingFindings:
        left = share * (minutes - (clock() - began) / 60)
        part = probe_subject(
            subject,
            names,
            catalogue=catalogue,
            split=None if split == "test" else split,
            minutes=max(left, 1e-9),  # with no time left, every probe says that it was up
            seed=seed,
            progress=lambda done, _: progress(before + done, len(geometry) + len(explanations)),
            clock=clock,
        )
        return replace(part, minutes=minutes)

    # Explanations first: what they take can be foreseen, and a single trial of some probes takes minutes.
    explained = probed(explanations, EXPLANATIONS, 0.5 if geometry else 1.0, 0) if explanations else None
    shape = probed(geometry, PROBES, 1.0, len(explanations)) if geometry else None
    return replace(found, geometry=shape, explanations=explained)


def _asked(what: Sequence[str] | None, catalogue: Mapping[str, ProbeEntry]) -> list[str]:
    return [name for name in catalogue if what is None or name in what]


def _predicted(subject: Subject, split: str, name: str) -> PredictionSet:
    """Run the model over the samples of a split."""
    examples = subject.parts[split]
    logits, labels = _logits(subject, examples), examples.true_labels
    pictures = _pictures(examples)
    predictions = from_arrays(
        labels, logits=logits.reshape(len(labels), -1).squeeze(1), name=name, class_names=examples.class_names,
        images=pictures,
    )  # fmt: skip
    return replace(predictions, source=f"logits of {name} on {len(labels):,} samples, made now")


def _logits(subject: Subject, examples: Examples) -> Float[Tensor, "N *C"]:
    model = subject.model
    weight = next((each for each in model.parameters() if each.is_floating_point()), torch.zeros(1))
    parts = []
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        for rows in torch.split(torch.arange(len(examples)), _AT_ONCE):
            parts.append(_run(model, inputs_of(examples, rows).to(weight), rows))
    return torch.cat(parts)


def _run(model: torch.nn.Module, inputs: Float[Tensor, "N *shape"], rows: Int64[Tensor, " N"]) -> Tensor:
    outputs = model(inputs)
    if not isinstance(outputs, Tensor) or outputs.ndim not in (1, 2) or len(outputs) != len(rows):
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(f"the model must return logits (N, C), or (N,) for two classes; got {shape} for {len(rows)}")
    return outputs.detach().float().cpu()


def _pictures(examples: Examples) -> Float[Tensor, "N H W *channels"] | None:
    """Return inputs that are pictures, in [0, 1]; None for all others."""
    held = examples.inputs
    if not isinstance(held, Tensor) or held.ndim != 4 or held.shape[1] not in (1, 3):
        return None
    inputs = inputs_of(examples)
    if bool(inputs.min() < 0) or bool(inputs.max() > 1):
        return None
    # Height, width and channels last: no reader can then take a narrow picture's width for its channels.
    return inputs.squeeze(1) if inputs.shape[1] == 1 else inputs.movedim(1, -1) if inputs.shape[2] > 4 else None
