"""The score of a class that is watched while parts of the input are removed."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import check_predictions, class_values

RemovalScore = Literal["probability", "log_odds", "logit", "margin"]
"""A scalar of a sample with a class, larger where the model is surer of it; see :func:`removal_score`."""


def check_score(of: str) -> None:
    """Refuse what is no score.

    Args:
        of: its name.

    Raises:
        ValueError: if it is none.
    """
    if of not in get_args(RemovalScore):
        raise ValueError(f"of must be one of {', '.join(map(repr, get_args(RemovalScore)))}, got {of!r}")


def removal_score(outputs: Float[Tensor, "B *C"], target: Int64[Tensor, " B"], of: RemovalScore) -> Float[Tensor, " B"]:
    """Return how sure the model is of a class, float64.

    Args:
        outputs: (B, C) logits, or (B,) or (B, 1) log-odds of class 1 of two.
        target: (B,) the class c.
        of: ``"probability"`` p_c; ``"log_odds"``, ``log(p_c / (1 - p_c))``, which does not saturate; ``"logit"``; or
            ``"margin"``, the logit minus the largest of the others. For two classes in one number, ``"logit"`` is that
            number whatever the class.
    """
    if of == "probability":
        return class_values(outputs, target, "log_probability").exp()
    if of == "log_odds":
        logits = check_predictions(logits=outputs).double()
        others = logits.scatter(1, target[:, None], -torch.inf).logsumexp(dim=1)
        return logits.gather(1, target[:, None]).squeeze(1) - others
    return class_values(outputs, target, of).double()
