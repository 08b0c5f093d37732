"""The most confidently wrong predictions, which is where labels are wrong and models are blind."""

import torch

from trueline.auditing._records import Mistake
from trueline.measure import Outcomes
from trueline.page import png_uri
from trueline.predictions import PredictionSet

SHOWN = 24


def worst_mistakes(rows: Outcomes, predictions: PredictionSet) -> tuple[Mistake, ...]:
    """Return the wrong predictions with the highest confidence.

    Args:
        rows: the samples as given.
        predictions: where they come from, with pictures or without.

    Returns:
        The most confident first, at most 24; of equals those that come first in the set.

    Raises:
        ImportError: if there are pictures, and the ``report`` extra is not installed.
    """
    wrong = (~rows.hit).nonzero().squeeze(1)
    confidence = rows.confidence.double()[wrong]
    index = wrong[confidence.argsort(descending=True, stable=True)[:SHOWN]]
    images = predictions.images(index) if predictions.images is not None and len(index) else None
    pictures = [None] * len(index) if images is None else [png_uri(image) for image in images]
    return tuple(
        Mistake(
            index=row,
            label=int(rows.labels[row]),
            prediction=int(rows.predictions[row]),
            confidence=float(rows.confidence[row]),
            label_probability=torch.exp(-rows.log_loss[row]).item(),
            picture=picture,
        )
        for row, picture in zip(index.tolist(), pictures, strict=True)
    )
