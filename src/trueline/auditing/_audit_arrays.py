"""``trueline.audit``: the audit of arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

from trueline.auditing._audit import Audit, audit_predictions, listed
from trueline.predictions import PredictionSet, from_arrays


def audit(
    labels: Any,
    *,
    logits: Any = None,
    probs: Any = None,
    weight: Any = None,
    groups: Any = None,
    class_names: Sequence[str] | None = None,
    images: Any = None,
    held_out: tuple[Any, Any] | None = None,
    outside: Any = None,
    title: str | None = None,
    bins: int = 15,
) -> Audit:
    """Audit a classifier from its predictions on samples it was not trained on.

    Arrays may be tensors, NumPy arrays (also memory-mapped ones), lists or data frames. Several models are audited side
    by side when their predictions come as a mapping from name to array, all on the same samples.

    Args:
        labels: (N,) class numbers from 0; or names, if ``class_names`` holds them.
        logits: (N, C) unnormalised scores, or (N,) log-odds of class 1 of two; or None.
        probs: (N, C) probabilities, or (N,) of class 1 of two; or None.
        weight: (N,) weights of the samples; or None.
        groups: (N,) the group of each sample, numbers or text; or None.
        class_names: C names; their numbers if None.
        images: (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W) pictures, uint8 or in [0, 1]; or None.
        held_out: labels and predictions, of the same kind, on other samples, to fit the temperature on; with several
            models the predictions are a mapping again. None to cross-validate on the audited samples.
        outside: predictions, of the same kind, on samples from elsewhere that the model should not be sure about; or
            None.
        title: heading of the page.
        bins: number of bins of the binned measures.

    Returns:
        The audit: print it, show it in a notebook, take its numbers or write its page.

    Raises:
        ValueError: if the arrays are not what they should be; the message says what was found and how to mend it.
        TypeError: if something is no array.

    Cost:
        A few passes over the predictions; ``benchmarks/audit.py`` measures it.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1]]).expand(100, 2)
        >>> print(audit(torch.arange(100) % 4 // 3, probs=probs).verdict[0].partition(":")[0])
        Over-confident by 15.0 points
    """
    kind = _kind(logits, probs)
    given = logits if kind == "logits" else probs
    named = dict(given) if isinstance(given, Mapping) else {"model": given}
    apart = _by_model(None if held_out is None else held_out[1], named, "held_out")
    foreign = _by_model(outside, named, "outside")
    sets, others = [], []
    for name, values in named.items():
        pair = None if held_out is None else (held_out[0], apart[name])
        options = {"weight": weight, "groups": groups, "class_names": class_names, "images": images, "held_out": pair}
        sets.append(from_arrays(labels, name=str(name), **{kind: values}, **options))
        if outside is not None:
            others.append(_unlabelled(foreign[name], kind, str(name)))
    return audit_predictions(sets, outside=others or None, title=title, bins=bins)


def _kind(logits: Any, probs: Any) -> str:
    if (logits is None) == (probs is None):
        given = "neither" if logits is None else "both"
        raise ValueError(f"expected exactly one of logits= and probs=, got {given}; pass one by keyword")
    return "logits" if probs is None else "probs"


def _by_model(values: Any, named: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        if len(named) > 1:
            raise ValueError(f"{what} must map each of the models {listed(list(named))} to its own predictions")
        return dict.fromkeys(named, values)
    if set(values) != set(named):
        raise ValueError(f"{what} must hold the models {listed(list(named))}, got {listed(list(values)) or 'none'}")
    return values


def _unlabelled(values: Any, kind: str, name: str) -> PredictionSet:
    """Read predictions whose labels nobody asks for."""
    return from_arrays([0] * len(values), name=name, **{kind: values})
