"""How well confidence tells the audited samples from those of another set."""

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.auditing._records import Detection
from trueline.contracts import read_log_probs
from trueline.measure import auroc, fpr_at_recall
from trueline.predictions import PredictionSet

_TITLES = {
    "confidence": "largest probability",
    "entropy": "entropy of the probabilities, low inside",
    "energy": "log of the summed exponentials of the logits",
}


def detect(inside: PredictionSet, outside: PredictionSet) -> tuple[Detection, ...]:
    """Compare scores that need no training on samples from inside and outside the model's domain.

    The largest probability (Hendrycks and Gimpel, ICLR 2017, arXiv 1610.02136), minus the entropy, and for logits the
    energy ``ln Σ_k exp(z_k)`` (Liu, Wang, Owens and Li, NeurIPS 2020, arXiv 2010.03759).

    Args:
        inside: predictions on the audited samples.
        outside: the same model's predictions on samples it knows nothing about; their labels are not used.

    Returns:
        One row per score.

    Raises:
        ValueError: if one set holds logits and the other probabilities, or their classes differ in number.
    """
    if inside.kind != outside.kind or inside.num_classes != outside.num_classes:
        raise ValueError(
            f"the outside set must be predictions of the same model: expected {inside.kind} of {inside.num_classes} "
            f"classes as in {inside.source}, got {outside.kind} of {outside.num_classes} in {outside.source}"
        )
    known, other = _scores(inside), _scores(outside)
    return tuple(
        Detection(_TITLES[name], len(outside), auroc(known[name], other[name]), fpr_at_recall(known[name], other[name]))
        for name in known
    )


def _scores(predictions: PredictionSet) -> dict[str, Float[Tensor, " N"]]:
    parts: dict[str, list[Tensor]] = {"confidence": [], "entropy": []}
    for block in predictions.blocks():
        log_probs = read_log_probs(**{predictions.kind: block})
        parts["confidence"].append(log_probs.amax(dim=1).exp())
        parts["entropy"].append((log_probs.exp() * log_probs).sum(dim=1))
        if predictions.kind == "logits":
            parts.setdefault("energy", []).append(block.double().logsumexp(dim=1))
    return {name: torch.cat(values) for name, values in parts.items()}
