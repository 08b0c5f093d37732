"""Which true box each detection found, and how well."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, check_tensors, method


@method(
    Reference(
        authors="Tsung-Yi Lin, Michael Maire, Serge Belongie, James Hays, Pietro Perona, Deva Ramanan, Piotr Dollár, "
        "C. Lawrence Zitnick",
        title="Microsoft COCO: Common Objects in Context",
        venue="ECCV",
        year=2014,
        arxiv="1405.0312",
    ),
    cost="one overlap for each pair of a detection and a true box in the same image and category",
)
def match_detections(
    boxes: Float[Tensor, "N 4"],
    scores: Float[Tensor, " N"],
    categories: Int64[Tensor, " N"],
    images: Int64[Tensor, " N"],
    *,
    true_boxes: Float[Tensor, "M 4"],
    true_categories: Int64[Tensor, " M"],
    true_images: Int64[Tensor, " M"],
    minimum: float = 0.5,
) -> Float[Tensor, " N"]:
    """Return the overlap of each detection with the true box it is matched to, and 0 for those without one.

    Within an image and category, detections choose in order of falling score the free true box with the largest
    intersection over union, if that is at least ``minimum``. A true box is found once; a second detection of it gets
    0, however many detections there are. Equal scores are ordered by overlap and then by place, so that shuffling the
    detections changes nothing.

    Args:
        boxes: (N, 4) left, top, right and bottom of each detection, in any unit, finite.
        scores: (N,) their confidences, finite.
        categories: (N,) their classes; 0 is a class like any other.
        images: (N,) the number of the image each is in.
        true_boxes: (M, 4) likewise for the true boxes.
        true_categories: (M,) likewise.
        true_images: (M,) likewise.
        minimum: overlap below which boxes do not match, in [0, 1]; boxes that do not touch never match. 0.5 is usual;
            a smaller number keeps the overlaps of poorly placed detections.

    Returns:
        (N,) overlaps in [0, 1], float64, on the CPU.

    Raises:
        ValueError: if shapes do not fit, a box ends before it begins, or a value is not finite.
        TypeError: if a dtype is wrong.

    Example:
        >>> import torch
        >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.5]])
        >>> where = {"true_boxes": boxes[:1], "true_categories": torch.tensor([7]), "true_images": torch.tensor([0])}
        >>> seven, zero = torch.full((2,), 7), torch.zeros(2, dtype=torch.int64)
        >>> match_detections(boxes, torch.tensor([0.6, 0.9]), seven, zero, **where).tolist()
        [0.0, 0.75]
    """
    if not 0 <= minimum <= 1:
        raise ValueError(f"minimum must lie in [0, 1], got {minimum}")
    _check(boxes, categories, images, "boxes")
    _check(true_boxes, true_categories, true_images, "true_boxes")
    if scores.shape != boxes.shape[:1] or not scores.isfinite().all():
        raise ValueError(f"scores must be finite, of shape ({len(boxes)},), got shape {tuple(scores.shape)}")
    boxes, true_boxes = boxes.detach().double().cpu(), true_boxes.detach().double().cpu()
    found = torch.zeros(len(boxes), dtype=torch.float64)
    keys, places = torch.unique(
        torch.cat(
            [torch.stack([images, categories], dim=1).cpu(), torch.stack([true_images, true_categories], dim=1).cpu()]
        ),
        dim=0,
        return_inverse=True,
    )
    of_detection, of_truth = _rows(places[: len(boxes)], len(keys)), _rows(places[len(boxes) :], len(keys))
    for detections, truths in zip(of_detection, of_truth, strict=True):
        if len(detections) and len(truths):
            overlap = _overlaps(boxes[detections], true_boxes[truths])
            found[detections] = _greedy(overlap, scores[detections].tolist(), boxes[detections].tolist(), minimum)
    return found


def _greedy(overlap: Tensor, scores: list[float], boxes: list[list[float]], minimum: float) -> Tensor:
    best = overlap.amax(dim=1).tolist()
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], -best[i], boxes[i]))
    free, found = overlap.clone(), torch.zeros(len(scores), dtype=torch.float64)
    for i in order:
        value, place = free[i].max(dim=0)
        if value > 0 and value >= minimum:
            found[i] = value
            free[:, place] = -1
    return found


def _overlaps(first: Tensor, second: Tensor) -> Float[Tensor, "N M"]:
    """Return the intersection over union of each pair; 0 for boxes without area."""
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(dim=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1] - shared
    return shared / torch.where(union > 0, union, 1)


def _rows(places: Tensor, count: int) -> tuple[Tensor, ...]:
    """Return the positions of each number below ``count``."""
    sizes = torch.bincount(places, minlength=count).tolist()
    return torch.split(places.argsort(stable=True), sizes)


def _check(boxes: Tensor, categories: Tensor, images: Tensor, name: str) -> None:
    check_tensors(**{name: boxes}, categories=categories, images=images)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} must have shape (N, 4), got {tuple(boxes.shape)}")
    for of_box in (categories, images):
        if of_box.dtype != torch.int64:
            raise TypeError(f"categories and images must be int64 numbers, got {of_box.dtype}")
        if of_box.shape != boxes.shape[:1]:
            raise ValueError(
                f"categories and images must have shape ({len(boxes)},) to match {name}, got {tuple(of_box.shape)}"
            )
    if not boxes.isfinite().all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError(
            f"{name} must be finite, as left, top, right, bottom with right >= left and bottom >= top; boxes given by "
            "width and height need left + width and top + height"
        )
