"""Matrix scaling, by Guo, Pleiss, Sun and Weinberger (2017), with the ridge of Kull and others (2019)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import counted_rows, few_rows, warn_of_absent_classes, warn_of_few_per_class
from trueline.calibrate._multinomial import Full, best_temperature, fit_multinomial
from trueline.contracts import Calibrator, Reference, method


@method(
    Reference(
        authors="Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger",
        title="On Calibration of Modern Neural Networks",
        venue="ICML",
        year=2017,
        arxiv="1706.04599",
    ),
    Reference(
        authors="Meelis Kull, Miquel Perello-Nieto, Markus Kängsepp, Telmo Silva Filho, Hao Song, Peter Flach",
        title="Beyond Temperature Scaling: Obtaining Well-Calibrated Multiclass Probabilities with Dirichlet "
        "Calibration",
        venue="NeurIPS",
        year=2019,
        arxiv="1910.12656",
    ),
    cost="a convex problem of C·(C + 1) numbers: many products of (N, C) with (C, C) matrices",
)
class MatrixScaling(Calibrator):
    """Maps log-probabilities by a full affine map: ``softmax(W·ln p + b)``.

    W and b minimise the mean log loss of the held-out predictions plus
    ``off_diagonal·mean_{i≠j} W_ij² + intercept·mean_i b_i²``, starting at W = I/T, b = 0 for the best temperature T.
    Without a penalty C·(C + 1) numbers need many samples: on 100 classes and 5,000 samples the map loses a fifth of
    the accuracy (``trueline reproduce recalibration-densenet``). Such a fit is refused unless there are ten samples for
    each number.

    Args:
        off_diagonal: strength of the penalty on the mean squared entry of W off its diagonal, at least zero.
        intercept: strength of the penalty on the mean squared entry of b, at least zero.
        force: whether to fit without a penalty off the diagonal also where samples are too few.

    Attributes:
        matrix_: (C, C) the learned W, a row for each class of the result.
        intercept_: (C,) the learned b.

    Raises:
        ValueError: if an option is out of range; in ``fit``, if the samples are too few.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2]] * 50 + [[0.3, 0.7]] * 50)
        >>> labels = torch.tensor([0] * 45 + [1] * 5 + [0] * 20 + [1] * 30)
        >>> scaling = MatrixScaling().fit(labels, probs=probs)
        >>> [round(p, 3) for p in scaling.predict_proba(probs=probs)[::50, 0].tolist()]  # 9 of 10, and 4 of 10
        [0.9, 0.4]
    """

    preserves_ranking: ClassVar[bool] = False
    lowers_log_loss: ClassVar[bool] = True
    matrix_: Float[Tensor, "C C"]
    intercept_: Float[Tensor, " C"]

    def __init__(self, *, off_diagonal: float = 0.0, intercept: float = 0.0, force: bool = False) -> None:
        check_strength("off_diagonal", off_diagonal)
        check_strength("intercept", intercept)
        self.off_diagonal = off_diagonal
        self.intercept = intercept
        self.force = force

    @property
    def penalised(self) -> bool:
        """Whether the matrix is held back off its diagonal, where most of its numbers are."""
        return self.off_diagonal > 0

    def n_parameters(self, num_classes: int) -> int:
        """Return C·(C + 1), the matrix and the intercepts."""
        return num_classes * (num_classes + 1)

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        reason = few_rows(self, counted_rows(labels, weight), log_probs.shape[1])
        if reason is not None and not self.penalised and not self.force:
            raise ValueError(
                f"matrix scaling without a penalty refuses {reason}; use StructuredMatrixScaling or "
                "StructuredVectorScaling, set off_diagonal= above 0, fit to more samples, or pass force=True"
            )
        if self.penalised:
            warn_of_few_per_class(self, labels, log_probs.shape[1], weight)
        warn_of_absent_classes(self, labels, log_probs.shape[1], weight)
        self.matrix_, self.intercept_ = fit_matrix(log_probs, labels, weight, self.off_diagonal, self.intercept)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return (log_probs @ self.matrix_.T + self.intercept_).log_softmax(dim=1)


def check_strength(name: str, value: float) -> None:
    """Refuse a strength of a penalty that is negative or not finite.

    Args:
        name: of the option, for the message.
        value: the strength.

    Raises:
        ValueError: if it is negative, infinite or NaN.
    """
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be finite and at least 0, the strength of a penalty, got {value}")


def fit_matrix(
    log_probs: Float[Tensor, "N C"],
    labels: Int64[Tensor, " N"],
    weight: Float[Tensor, " N"] | None,
    off_diagonal: float,
    intercept: float,
) -> tuple[Float[Tensor, "C C"], Float[Tensor, " C"]]:
    """Return W and b of ``softmax(W·ln p + b)`` with the smallest penalised mean log loss.

    Args:
        log_probs: (N, C) log-probabilities, float64.
        labels: (N,) class numbers.
        weight: (N,) weights of the samples; None for ones.
        off_diagonal: strength of the penalty on the mean squared entry of W off its diagonal.
        intercept: strength of the penalty on the mean squared entry of b.

    Returns:
        W (C, C), a row for each class of the result, and b (C,).
    """
    num_classes = log_probs.shape[1]
    identity = torch.eye(num_classes, dtype=log_probs.dtype, device=log_probs.device)
    zero = torch.zeros_like(identity[:1])
    start = torch.cat([identity / best_temperature(log_probs, labels, weight), zero])
    off_penalty = (1 - identity) * (off_diagonal / (num_classes * (num_classes - 1)))
    penalty = torch.cat([off_penalty, zero + intercept / num_classes])
    fitted = fit_multinomial(Full(), log_probs, labels, weight, start=start, penalty=penalty)
    return fitted[:-1].T.contiguous(), fitted[-1]
