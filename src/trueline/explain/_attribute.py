"""One map for each sample: which of its entries made the model predict what it predicts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import (
    Explainer,
    Record,
    check_samples,
    chunks,
    class_values,
    distribution_chart,
    left_as_found,
    run_logits,
)
from trueline.explain._foreign import as_explainer
from trueline.explain._gradient import Gradient


@dataclass(frozen=True, eq=False)
class Attribution(Record):
    """Maps of the samples, and what they explain; the first axis of an array is the sample.

    Args:
        maps: (N, ...) attributions, with their sign; the shape of the inputs, or (N, H, W) where the method does not
            tell channels apart.
        target: (N,) the class that is explained.
        logit: (N,) its logit; for two classes in one number that number.
        explainer: the method with its settings, as text.
    """

    maps: Float[Tensor, "N *map"]
    target: Int64[Tensor, " N"]
    logit: Float[Tensor, " N"]
    explainer: str

    units: ClassVar[Mapping[str, str]] = {"maps": "the method's", "logit": "1"}

    def __str__(self) -> str:
        """Say what the maps are, in two lines."""
        entries = self.maps.flatten(1).abs()
        share = entries.topk(max(entries.shape[1] // 10, 1), dim=1).values.sum(dim=1) / entries.sum(dim=1)
        defined = share[share.isfinite()]
        empty = len(share) - len(defined)
        lines = [f"{self.explainer}: {len(self.maps)} maps of {'x'.join(map(str, self.maps.shape[1:]))}"]
        if len(defined):
            lines.append(f"a tenth of the entries holds {defined.mean():.0%} of a map's absolute sum on average")
        if empty:
            lines.append(f"{empty} maps are zero everywhere")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples whose map has at most a given largest absolute entry.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        largest = self.maps.flatten(1).abs().amax(dim=1)
        return distribution_chart(largest, "largest absolute attribution", purpose="Attribution.plot()")


def attribute(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"] | None = None,
    *,
    explainer: Any = None,
    chunk_size: int | None = None,
) -> Attribution:
    """Return a map of each sample: how much each entry of it counts for the class that is explained.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device.
        target: (N,) class numbers, int64, or None for the classes that the model predicts for these inputs.
        explainer: an :class:`trueline.contracts.Explainer`, or what :func:`as_explainer` makes one of, such as a method
            of captum; None for :class:`Gradient`.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The maps, float64 on the CPU.

    Raises:
        ValueError: if logits or maps are not finite, an argument is out of range, or a batch-norm layer has no running
            statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong, or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Linear(4, 3)
        >>> found = attribute(model, torch.randn(5, 4))
        >>> torch.equal(found.maps, model.weight.detach().double()[found.target])
        True
    """
    check_samples(model, inputs, target, chunk_size)
    method = Gradient() if explainer is None else as_explainer(explainer, model)
    maps, targets, logits = [], [], []
    with torch.inference_mode(mode=False), sdpa_kernel(SDPBackend.MATH), left_as_found(model):
        for first, (rows, classes) in chunks(chunk_size, inputs, target):
            assert rows is not None
            rows = rows.detach().clone()
            with torch.no_grad():
                outputs = run_logits(model, rows.clone())  # its first operation may write to them
                chosen = predicted(outputs) if classes is None else classes.to(rows.device)
                logits.append(class_values(outputs, chosen, "logit").double().cpu())
            found = method.maps(model, rows, chosen).detach()
            _check_maps(found, rows, first, method)
            maps.append(found.double().cpu())
            targets.append(chosen.cpu())
    return Attribution(
        maps=torch.cat(maps), target=torch.cat(targets), logit=torch.cat(logits), explainer=name_of(method)
    )


def predicted(outputs: Float[Tensor, "B *C"]) -> Int64[Tensor, " B"]:
    """Return the class that a model predicts for each sample.

    Args:
        outputs: (B, C) logits, or (B,) or (B, 1) log-odds of class 1 of two.
    """
    outputs = outputs.detach()
    return (outputs.reshape(-1) > 0).long() if outputs.numel() == len(outputs) else outputs.argmax(dim=1)


def name_of(explainer: Explainer) -> str:
    """Return an explainer with its settings as text.

    Args:
        explainer: any.
    """
    text = repr(explainer)
    return type(explainer).__name__ if text.startswith("<") else text.removesuffix("()")


def _check_maps(maps: Tensor, inputs: Tensor, first: int, explainer: Explainer) -> None:
    if maps.ndim < 2 or len(maps) != len(inputs):
        raise ValueError(
            f"{name_of(explainer)} must return one map for each sample, got {tuple(maps.shape)} for inputs of "
            f"{tuple(inputs.shape)}"
        )
    if not (finite := maps.flatten(1).isfinite().all(dim=1)).all():
        row = first + int((~finite).nonzero()[0])
        raise ValueError(f"the attribution of sample {row} by {name_of(explainer)} is not finite; look at its input")
