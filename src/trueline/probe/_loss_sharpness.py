"""Sharpness of the loss in the input, over paths away from each sample, by Gamba et al. (2023)."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, check_samples, chunks, default_generator, left_as_found, method, run_logits
from trueline.probe._clean_and_noisy import clean_and_noisy, mean_if_any
from trueline.probe._colour_jitter import draw_colour_jitters
from trueline.probe._image_paths import ImagePath
from trueline.probe._loss_sharpness_record import LossSharpness
from trueline.probe._path_integral import path_profile
from trueline.probe._point_metric import Metric, PointMetric
from trueline.probe._shift_path import ShiftPath
from trueline.probe._svd_path import SVDPath
from trueline.probe._tangent_hessian import Of, distances

_JITTERS = 4


@method(
    Reference(
        authors="Matteo Gamba, Erik Englesson, Mårten Björkman, Hossein Azizpour",
        title="Deep Double Descent via Smooth Interpolation",
        venue="TMLR",
        year=2023,
        arxiv="2209.10080",
    ),
    Reference(
        authors="Daniel LeJeune, Randall Balestriero, Hamid Javadi, Richard G. Baraniuk",
        title="Implicit Rugosity Regularization via Data Augmentation",
        venue="arXiv",
        year=2019,
        arxiv="1905.11639",
    ),
    cost="a forward and a backward pass for each of K·(A - 1) + 1 images a sample; five times that for tangent metrics",
)
def loss_sharpness(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    *,
    path: ImagePath | Literal["shift", "svd"] = "shift",
    metric: Metric = "gradient",
    of: Of = "loss",
    delta: float | None = 0.1,
    true_labels: Int64[Tensor, " N"] | None = None,
    restored: bool = False,
    scale: Sequence[float] | Float[Tensor, " C"] | None = None,
    image_shape: tuple[int, int, int] | None = None,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> LossSharpness:
    """Return how sharply the loss bends around each sample, over paths of images that lead away from it.

    ``I(x) = mean_k ∫ m(x_k(t)) dt / length`` over K paths ``x_k`` from x, by the trapezoid rule between their anchors,
    of a quantity m:

    * ``"gradient"``: ``‖∇_x l(f(x), y)‖``;
    * ``"tangent_hessian"``: ``sqrt(mean_j ‖∇l(x) - ∇l(x_j)‖² / δ²)`` over four jitters ``x_j`` of the colours of x,
      whose brightness, contrast and saturation change by at most a hundredth, the same for all images;
    * ``"tangent_jacobian"``: the same of l itself in place of its gradient;
    * ``"loss"``: the cross-entropy; ``"accuracy"``: 1 where the label is predicted, else 0.

    At the training samples themselves the gradient vanishes as the network grows sure of them; along paths it does not.
    Take the labels used in training.

    Args:
        model: any module that can be differentiated, from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class
            1 of two. It is run in evaluation mode and left as found.
        inputs: (N, C, H, W) images, floating point, on the model's device, or (N, ...) with ``image_shape``.
        labels: (N,) class numbers, int64.
        path: where to go; ``"shift"`` is :class:`ShiftPath` and ``"svd"`` :class:`SVDPath`, with their published steps,
            which are for images of 32x32: smaller ones need smaller steps. A path with one step gives the mean over
            neighbours, a path without steps, ``ShiftPath(radii=())``, the sample alone.
        metric: the quantity m.
        of: what the first three metrics are of: ``"loss"`` in nats, the ``"target_logit"`` of the label, or all
            ``"logits"``, ``"probs"`` or ``"log_probs"``, whose Jacobian's Frobenius norm is taken.
        delta: the δ of the tangent metrics, above 0, in the unit of the inputs. The published constant 0.1 is not the
            displacement, so that values compare between models but not between data sets; None divides by the
            displacement itself.
        true_labels: (N,) to tell right labels from wrong ones, and report them apart. They may be of classes that the
            model has not.
        restored: whether the true labels take the place of the labels in the metric.
        scale: of each channel, in which lengths and derivatives are measured, above 0: the standard deviations where
            the model normalises its inputs itself and these are as in the space behind. None for 1.
        image_shape: (C, H, W) of each input, where the model does not take images.
        chunk_size: images at once, None for one of each sample; it changes the memory, not the answer.
        generator: draws the jitters; None for one seeded with 0.

    Returns:
        The record of all samples, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, the images are too small for the path, logits or derivatives are not
            finite, the output does not depend on the input, or a batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        >>> images, labels = torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> record = loss_sharpness(model, images, labels, path=ShiftPath(radii=(1, 2)))
        >>> record.integrated.shape, record.profile.shape
        (torch.Size([6]), torch.Size([6, 3]))
        >>> torch.equal(record.profile[:, -1], record.integrated)
        True
    """
    check_samples(model, inputs, labels, chunk_size)
    _check_true_labels(true_labels, labels, restored)
    if isinstance(path, str):
        path = _named_path(path)
    shape = _image_shape(inputs, image_shape)
    count = _JITTERS if metric.startswith("tangent") else 0
    jitters = draw_colour_jitters(count, default_generator(generator))
    measured = PointMetric(metric, of, delta, jitters, _scale(scale, shape[0], inputs.device))
    targets = true_labels if restored else labels
    parts = []
    with torch.inference_mode(mode=False), torch.enable_grad(), left_as_found(model):
        for first, (rows, classes) in chunks(chunk_size, inputs, targets):
            assert rows is not None
            assert classes is not None
            images = rows.detach().clone().reshape(len(rows), *shape)
            parts.append(_along(path, partial(_logits, model, rows.shape), images, classes, measured, first))
    values, lengths = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
    profile = path_profile(values, lengths).mean(dim=1)
    noisy = None if true_labels is None else (labels != true_labels.to(labels.device)).cpu()
    integrated, at_sample = profile[:, -1], values[:, 0, 0]
    mean, mean_at_sample = mean_if_any(integrated), mean_if_any(at_sample)
    assert mean is not None
    assert mean_at_sample is not None
    return LossSharpness(
        integrated=integrated,
        at_sample=at_sample,
        profile=profile,
        values=values,
        lengths=lengths,
        noisy=noisy,
        mean=mean,
        mean_at_sample=mean_at_sample,
        split=None if noisy is None else clean_and_noisy(integrated, noisy),
        split_at_sample=None if noisy is None else clean_and_noisy(at_sample, noisy),
        steps=(0, *path.steps),
        path=str(path),
        metric=str(measured),
        unit=measured.unit,
    )


def _logits(model: nn.Module, shape: torch.Size, images: Tensor) -> Tensor:
    """Return the logits of images in the shape that the model takes."""
    return run_logits(model, images.reshape(shape))


def _along(
    path: ImagePath,
    logits_of: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    metric: PointMetric,
    first: int,
) -> tuple[Tensor, Tensor]:
    """Return the values (B, K, A) at the anchors, of which few exist at once, and the lengths between them."""
    anchors, steps = path.walk(images), len(path.steps)
    start = _finite(metric(logits_of, images, labels), first)
    values: list[Tensor] = []
    lengths: list[Tensor] = []
    for _ in range(path.directions):
        values.append(start)
        before = images
        for _ in range(steps):
            here = next(anchors, None)
            if here is None:
                wanted = f"{path.directions * steps} batches of images"
                raise ValueError(f"the walk of {path} must return {wanted}, ended after {len(lengths)}")
            values.append(_finite(metric(logits_of, here, labels), first))
            lengths.append(distances(before, here, metric.scale))
            before = here
    segments = torch.stack(lengths, dim=1) if lengths else start.new_zeros(len(start), 0)
    shape = (len(start), path.directions)
    return torch.stack(values, dim=1).view(*shape, steps + 1), segments.view(*shape, steps)


def _finite(values: Tensor, first: int) -> Tensor:
    if not values.isfinite().all():
        sample = first + int((~values.isfinite()).nonzero()[0])
        raise ValueError(
            f"the derivatives of the model are not finite near sample {sample}; look at what it divides by"
        )
    return values


def _check_true_labels(true_labels: Tensor | None, labels: Tensor, restored: bool) -> None:
    if true_labels is None:
        if restored:
            raise ValueError("restored=True evaluates the true labels; pass true_labels=")
        return
    if true_labels.dtype != torch.int64:
        raise TypeError(f"true_labels must be int64 class numbers, got {true_labels.dtype}; convert with .long()")
    if true_labels.shape != labels.shape or (true_labels < 0).any():
        raise ValueError(
            f"true_labels must have shape {tuple(labels.shape)} and be at least 0, got shape "
            f"{tuple(true_labels.shape)} and smallest {int(true_labels.min()) if len(true_labels) else None}"
        )


def _named_path(name: str) -> ImagePath:
    named: dict[str, type[ShiftPath] | type[SVDPath]] = {"shift": ShiftPath, "svd": SVDPath}
    if name not in named:
        raise ValueError(f"path must be 'shift', 'svd' or an ImagePath such as ShiftPath(radii=(1, 2)); got {name!r}")
    return named[name]()


def _image_shape(inputs: Tensor, image_shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
    shape = tuple(inputs.shape[1:]) if image_shape is None else tuple(image_shape)
    if len(shape) != 3 or min(shape) < 1 or math.prod(shape) != inputs[0].numel():
        given = "" if image_shape is None else f" and image_shape={image_shape}"
        raise ValueError(
            f"inputs must be images (N, C, H, W), or others with image_shape=(C, H, W) of as many entries; got "
            f"inputs of shape {tuple(inputs.shape)}{given}"
        )
    return shape[0], shape[1], shape[2]


def _scale(scale: Sequence[float] | Tensor | None, channels: int, device: torch.device) -> Tensor | None:
    if scale is None:
        return None
    values = torch.as_tensor(scale, dtype=torch.float64, device=device).detach()
    if values.ndim != 1 or len(values) not in (1, channels) or not (values.isfinite() & (values > 0)).all():
        raise ValueError(
            f"scale must be finite numbers above 0, one for each of {channels} channels or one for all, got {scale}"
        )
    return values.view(-1, 1, 1)
