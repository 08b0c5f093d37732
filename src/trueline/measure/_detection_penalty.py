"""A training penalty on the calibration of detectors, by Popordanoska, Tiulpin and Blaschko (2024)."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_labels, method
from trueline.measure._detection_calibration import DETECTION, detection_targets
from trueline.measure._leave_one_out import CLAMP, on_simplex, weight_rows


@method(DETECTION, cost="up to 500² weights for each image and part")
def detection_calibration_penalty(
    probs: Float[Tensor, "B C"],
    labels: Int64[Tensor, " B"],
    overlaps: Float[Tensor, " B"],
    images: Int64[Tensor, " B"],
    *,
    canonical: float = 0.0,
    identity: float = 1.0,
    averaged: float = 1.0,
    bandwidth: float = 0.01,
    norm: Literal[1, 2] = 1,
    most: int = 500,
) -> Float[Tensor, " I"]:
    """Return the calibration error of the positive anchors of each image, as a term to add to a loss.

    ``λ_can·canonical + λ_id·identity + λ_avg·averaged``, the mean over an image's anchors of ``|t_i - s_i|^r``. For
    the latter two s is the probability of the anchor's own class and t the kernel mean of
    :func:`detection_calibration_error`, of the overlaps and of their averaged thresholds; for the first they are all C
    probabilities and the kernel means of the classes, as in :func:`kernel_calibration_error`, summed over the classes.
    Of each image the ``most`` anchors with the highest s count. Probabilities are clamped to [1e-7, 1 - 1e-7], so that
    saturated ones have a gradient of zero and never an infinite one. The clamps, the number 500 and the parts are
    those of the paper's code; the coefficients and the bandwidth have no published default that we know of, and are
    ours.

    Args:
        probs: (B, C) class probabilities of the positive anchors, in [0, 1]; the rows need not sum to one unless
            ``canonical`` is used.
        labels: (B,) classes of their true boxes.
        overlaps: (B,) intersection over union with these, in [0, 1].
        images: (B,) number of the image each is in, int64.
        canonical: λ_can, at least zero.
        identity: λ_id, at least zero.
        averaged: λ_avg, at least zero.
        bandwidth: h, above zero.
        norm: the exponent r, 1 or 2.
        most: anchors counted in an image, at least two.

    Returns:
        One penalty for each image that occurs, by rising number, differentiable in ``probs``; 0 for an image with one
        anchor. The caller reduces.

    Raises:
        ValueError: if a value is not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.4, 0.6]], requires_grad=True)
        >>> labels, images = torch.tensor([0, 1]), torch.tensor([3, 3])
        >>> penalty = detection_calibration_penalty(probs, labels, torch.tensor([0.8, 0.0]), images, averaged=0.0)
        >>> [round(value, 4) for value in penalty.tolist()]  # |0 - 0.9| and |0.8 - 0.6|
        [0.55]
    """
    _check(probs, labels, overlaps, images, (canonical, identity, averaged), bandwidth, norm, most)
    targets = [(identity, detection_targets(overlaps)), (averaged, detection_targets(overlaps, target="averaged"))]
    own = probs.gather(1, labels[:, None]).squeeze(1)
    penalties = []
    for image in torch.unique(images).tolist():
        rows = (images == image).nonzero().squeeze(1)
        rows = rows[own[rows].detach().argsort(descending=True, stable=True)[:most]]
        total = probs.new_zeros((), dtype=torch.float64)
        if len(rows) < 2:
            penalties.append(total + 0 * own[rows].sum())
            continue
        points = on_simplex(own[rows])
        for share, target in targets:
            if share > 0:
                total = total + share * _distance(points, points[:, :1], target[rows, None], bandwidth, norm)
        if canonical > 0:
            clamped = probs[rows].double().clamp(CLAMP, 1 - CLAMP)
            classes = torch.nn.functional.one_hot(labels[rows], probs.shape[1]).double()
            total = total + canonical * _distance(clamped, clamped, classes, bandwidth, norm)
        penalties.append(total)
    return torch.stack(penalties) if penalties else probs.new_zeros(0, dtype=torch.float64)


def _distance(points: Tensor, scores: Tensor, targets: Tensor, bandwidth: float, norm: int) -> Tensor:
    smoothed = torch.cat([weights @ targets for _, weights in weight_rows(points, bandwidth)])
    return (smoothed - scores).abs().pow(norm).sum(dim=1).mean()


def _check(
    probs: Tensor,
    labels: Tensor,
    overlaps: Tensor,
    images: Tensor,
    shares: tuple[float, float, float],
    bandwidth: float,
    norm: int,
    most: int,
) -> None:
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError("probs must lie in [0, 1]; pass probabilities, not logits")
    if not len(probs) == len(labels) == len(overlaps) == len(images):
        raise ValueError(
            f"expected one label, overlap and image for each of {len(probs)} anchors, got {len(labels)}, "
            f"{len(overlaps)} and {len(images)}"
        )
    if len(labels):
        check_labels(labels, *probs.shape)
    if not all(0 <= share < math.inf for share in shares):
        raise ValueError(f"coefficients must be finite and at least zero, got {shares}")
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be a finite number above zero, got {bandwidth}")
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm!r}")
    if most < 2:
        raise ValueError(f"most must be at least 2, got {most}: each anchor is compared with the others")
