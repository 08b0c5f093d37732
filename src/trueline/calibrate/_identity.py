"""The map that changes nothing, for comparisons."""

from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Calibrator, Reference, method


@method(
    Reference(
        authors="Chuan Guo, Geoff Pleiss, Yu Sun, Kilian Q. Weinberger",
        title="On Calibration of Modern Neural Networks",
        venue="ICML",
        year=2017,
        arxiv="1706.04599",
    ),
    cost="none",
)
class Identity(Calibrator):
    """Leaves predictions as they are: the candidate that every other map has to beat.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.75, 0.25]])
        >>> Identity().fit(torch.tensor([1]), probs=probs).predict_proba(probs=probs).tolist()
        [[0.75, 0.25]]
    """

    preserves_ranking: ClassVar[bool] = True
    lowers_log_loss: ClassVar[bool] = True

    def n_parameters(self, num_classes: int) -> int:
        """Return 0: nothing is learned."""
        return 0

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        pass

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return log_probs.log_softmax(dim=1)
