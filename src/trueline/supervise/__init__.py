"""Training targets: what each sample is trained towards, and what is remembered about it.

Every method is a :class:`~trueline.contracts.TargetBuilder`; those with a memory share one
:class:`TargetStore`.
"""

from typing import Any

from jaxtyping import Int64
from torch import Tensor

from trueline.contracts import Catalogue, TargetBuilder
from trueline.supervise._belief_matching import BeliefMatching
from trueline.supervise._contrastive import Contrastive
from trueline.supervise._cross_entropy import CrossEntropy
from trueline.supervise._dps import DPS
from trueline.supervise._elr import ELR
from trueline.supervise._label_smoothing import LabelSmoothing
from trueline.supervise._max_sup import MaxSup
from trueline.supervise._pskd import PSKD
from trueline.supervise._soft_cross_entropy import soft_cross_entropy
from trueline.supervise._store import TargetStore
from trueline.supervise._temporal_ensembling import TemporalEnsembling

__all__ = [
    "DPS",
    "ELR",
    "OBJECTIVES",
    "PSKD",
    "BeliefMatching",
    "Contrastive",
    "CrossEntropy",
    "LabelSmoothing",
    "MaxSup",
    "TargetStore",
    "TemporalEnsembling",
    "build",
    "soft_cross_entropy",
]

OBJECTIVES: Catalogue[TargetBuilder] = Catalogue(
    "objective",
    {
        "cross_entropy": CrossEntropy,
        "label_smoothing": LabelSmoothing,
        "max_sup": MaxSup,
        "pskd": PSKD,
        "elr": ELR,
        "belief_matching": BeliefMatching,
        "temporal_ensembling": TemporalEnsembling,
        "dps": DPS,
    },
    context=("labels", "num_classes", "epochs"),
)
"""Objectives by the name that ``[objective]`` of a configuration gives."""


def build(name: str, *, labels: Int64[Tensor, " N"], num_classes: int, epochs: int, **options: Any) -> TargetBuilder:
    """Build an objective by its configuration name.

    Args:
        name: a key of ``OBJECTIVES``, such as ``"dps"``.
        labels: (N,) the given labels of the training set.
        num_classes: C.
        epochs: length of the run.
        **options: what ``OBJECTIVES.signature(name)`` lists.

    Returns:
        The objective.

    Raises:
        ValueError: if the name or an option is unknown, naming the nearest known one.

    Example:
        >>> import torch
        >>> build("dps", labels=torch.tensor([0, 1]), num_classes=2, epochs=10, window=5.0).gamma
        0.8
    """
    context = {"labels": labels, "num_classes": num_classes, "epochs": epochs}
    return OBJECTIVES.build(name, context=context, options=options)
