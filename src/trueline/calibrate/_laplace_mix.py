"""Mixing a little of the uniform distribution into calibrated probabilities: Laplace's rule of succession."""

import warnings
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._fit_warnings import ABSENT, LIGHT, penalised, warn_of_light_weights
from trueline.calibrate._score_maps import uniform_share, with_uniform
from trueline.calibrate._structured_scaling import BERTA
from trueline.contracts import Calibrator, method


@method(BERTA, cost="the fit of the wrapped map")
class LaplaceMix(Calibrator):
    """Wraps a calibrator so that no class is ever impossible: ``(1 - s)·q + s/C`` with ``s = c/(n + 1)``.

    q are the probabilities of the wrapped map and n is the sum of the weights of its samples. After n samples nothing
    is known to be rarer than about 1 in n, so a single saturated mistake no longer costs an infinite log loss.

    Args:
        calibrator: the map to wrap; it is copied, not fitted itself.
        c: how much is mixed in, from 0 to 1.

    Attributes:
        calibrator_: the fitted map.
        share_: the learned s.

    Raises:
        ValueError: if c is out of range.
        TypeError: if the calibrator is not an object made from a calibrator class.

    Example:
        >>> import torch
        >>> from trueline.calibrate import Identity
        >>> probs = torch.tensor([[1.0, 0.0]])
        >>> mix = LaplaceMix(Identity()).fit(torch.tensor([0] * 99), probs=probs.expand(99, 2))
        >>> [round(p, 4) for p in mix.predict_proba(probs=probs)[0].tolist()]
        [0.995, 0.005]
    """

    lowers_log_loss: ClassVar[bool] = False
    calibrator_: Calibrator
    share_: float

    def __init__(self, calibrator: Calibrator, *, c: float = 1.0) -> None:
        if not isinstance(calibrator, Calibrator):
            raise TypeError(f"calibrator must be an object such as TemperatureScaling(), got {calibrator!r}")
        if not 0 <= c <= 1:
            raise ValueError(f"c must lie in [0, 1], got {c}; 1 mixes in one sample that is spread over all classes")
        self.calibrator = calibrator
        self.c = c

    @property
    def preserves_ranking(self) -> bool:
        """Whether the wrapped map keeps the order of the classes within every row; mixing does."""
        return self.calibrator.preserves_ranking

    @property
    def penalised(self) -> bool:
        """Whether a penalty holds back what the wrapped map learns."""
        return penalised(self.calibrator)

    def n_parameters(self, num_classes: int) -> int | None:
        """Return the number that the wrapped map learns and one more, the share."""
        inner = self.calibrator.n_parameters(num_classes)
        return None if inner is None else inner + 1

    def _fit(
        self, log_probs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], weight: Float[Tensor, " N"] | None
    ) -> None:
        if self.c > 0:
            warn_of_light_weights(self, weight)
        with warnings.catch_warnings():
            if self.c > 0:  # which mends the one, and has said the other itself
                for said in (ABSENT, LIGHT):
                    warnings.filterwarnings("ignore", message=f".*{said}")
            self.calibrator_ = self.calibrator.unfitted().fit(labels, logits=log_probs, weight=weight)
        samples = len(labels) if weight is None else weight.sum().item()
        self.share_ = uniform_share(self.c, samples)

    def _map(self, log_probs: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        return with_uniform(self.calibrator_._map(log_probs), self.share_)
