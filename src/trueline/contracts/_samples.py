"""What every method that runs a model on samples asks of both."""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from trueline.contracts._checks import check_labels, check_predictions, check_tensors

ClassValue = Literal["loss", "logit", "log_probability", "margin"]
"""A scalar of a sample with a class; see :func:`class_values`."""


def check_samples(
    model: nn.Module,
    inputs: Shaped[Tensor, "..."],
    labels: Shaped[Tensor, "..."] | None = None,
    chunk_size: int | None = None,
) -> None:
    """Refuse what no measurement of a model can work with.

    Args:
        model: must be a module whose samples do not depend on each other.
        inputs: must be (N, ...), floating point and finite, with N at least 1.
        labels: must be (N,) if given; whether they are classes is checked once the model has said how many there are.
        chunk_size: must be at least 1 if given.

    Raises:
        TypeError: if the model is no module, or the inputs are not floating point.
        ValueError: if a shape or value is wrong, or a batch-norm layer has no running statistics.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}; wrap a function in a module")
    check_tensors(inputs=inputs, labels=labels)
    if not inputs.is_floating_point():
        raise TypeError(f"inputs must be floating point, got {inputs.dtype}; convert with inputs.float()")
    if inputs.ndim < 2 or inputs.numel() == 0:
        raise ValueError(f"inputs must have shape (N, ...) with N >= 1, got {tuple(inputs.shape)}")
    if not (finite := inputs.detach().flatten(1).isfinite().all(dim=1)).all():
        raise ValueError(f"inputs must be finite, but sample {int((~finite).nonzero()[0])} is not; clean the data")
    if labels is not None and labels.shape != inputs.shape[:1]:
        raise ValueError(f"labels must have shape ({len(inputs)},) to match the inputs, got {tuple(labels.shape)}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"the batch-norm layer {name!r} has no running statistics, so that each sample's logits depend on the "
                "others; use track_running_stats=True"
            )


def run_logits(model: nn.Module, inputs: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *C"]:
    """Return the model's own outputs after checking that they are one row of finite logits for each input.

    Args:
        model: the model.
        inputs: (B, ...) samples.

    Raises:
        TypeError: if the model does not return a tensor.
        ValueError: if it is not one row of finite logits for each input.
    """
    outputs = model(inputs)
    if not isinstance(outputs, Tensor):
        raise TypeError(f"the model must return a tensor of logits (N, C), got {type(outputs).__name__}")
    if outputs.ndim == 0 or len(outputs) != len(inputs):
        raise ValueError(
            f"the model must return one row of logits for each input, got {tuple(outputs.shape)} for {len(inputs)}"
        )
    check_predictions(logits=outputs.detach())
    return outputs


def class_values(
    outputs: Float[Tensor, "B *C"], labels: Int64[Tensor, " B"] | None, of: ClassValue
) -> Float[Tensor, " B"]:
    """Return a scalar of each sample that can be differentiated.

    Args:
        outputs: (B, C) logits, or (B,) or (B, 1) log-odds of class 1 of two.
        labels: (B,) classes, or None for the predicted ones.
        of: ``"loss"``, the cross-entropy of the label in nats, float64; ``"log_probability"``, its negative;
            ``"logit"``, the logit of the class, for two classes in one number that number; or ``"margin"``, the logit
            of the class minus the largest of the others.

    Returns:
        (B,) the scalars.

    Raises:
        ValueError: if ``of`` has another value, or a label is no class.

    Example:
        >>> logits = torch.tensor([[2.0, 0.5, 1.0]])
        >>> class_values(logits, torch.tensor([0]), "margin").item()
        1.0
    """
    if of not in get_args(ClassValue):
        raise ValueError(f"of must be one of {', '.join(map(repr, get_args(ClassValue)))}, got {of!r}")
    logits = check_predictions(logits=outputs)
    if labels is None:
        labels = logits.detach().argmax(dim=1)
    else:
        labels = labels.to(logits.device)
        check_labels(labels, *logits.shape)
    if of in ("loss", "log_probability"):
        loss = F.cross_entropy(logits.double(), labels, reduction="none")
        return loss if of == "loss" else -loss
    if of == "logit" and outputs.numel() == len(outputs):  # the logit of class 0 would be a constant
        return outputs.reshape(-1)
    chosen = logits.gather(1, labels[:, None]).squeeze(1)
    if of == "logit":
        return chosen
    others = logits.scatter(1, labels[:, None], -math.inf)
    return chosen - others.amax(dim=1)


def chunks(size: int | None, *tensors: Shaped[Tensor, "N ..."] | None) -> list[tuple[int, list[Tensor | None]]]:
    """Return the rows of tensors in chunks, each with the number of its first row.

    Args:
        size: most rows of a chunk; None for all.
        tensors: of the same length, or None, which stays None.
    """
    length = next(len(tensor) for tensor in tensors if tensor is not None)
    step = length if size is None else min(size, length)
    return [
        (first, [None if tensor is None else tensor[first : first + step] for tensor in tensors])
        for first in range(0, length, step)
    ]


def default_generator(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator, or one seeded with 0, so that the same call gives the same answer.

    Args:
        generator: the caller's, or None.
    """
    return torch.Generator().manual_seed(0) if generator is None else generator
