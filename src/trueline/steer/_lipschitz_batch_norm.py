"""Batch norm with a bounded Lipschitz constant, by Srinivas et al. (2022)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trueline.contracts import method
from trueline.steer._centered_softplus import LOW_CURVATURE

_COST = "batch norm and one product an entry; one trained number"


class _LipschitzBatchNorm(_BatchNorm):
    """What the layers of all dimensions have in common."""

    def __init__(
        self, num_features: int, *, gamma: float = math.inf, eps: float = 1e-5, momentum: float | None = 0.1
    ) -> None:
        if num_features < 1:
            raise ValueError(f"num_features must be at least 1, got {num_features}")
        for name, value in {"gamma": gamma, "eps": eps}.items():
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        super().__init__(num_features, eps=eps, momentum=momentum, affine=False)
        # No constant can exceed 1/√eps, so this finite number is as free as infinity, and can be trained.
        self.log_gamma = nn.Parameter(torch.tensor(math.log(min(gamma, eps**-0.5))))

    @property
    def lipschitz_constant(self) -> Float[Tensor, ""]:
        """The layer's Lipschitz constant in evaluation mode, ``min(1/m, γ)``, with the gradient of γ."""
        return torch.minimum(1 / self._least_deviation(), self.log_gamma.exp())

    def forward(self, input: Float[Tensor, "N C *shape"]) -> Float[Tensor, "N C *shape"]:
        """Normalise, and shrink what would be steeper than γ.

        Args:
            input: (N, C) or (N, C, ...) values.
        """
        normalised = super().forward(input)
        shrunk = (self._least_deviation() * self.log_gamma.exp()).clamp_max(1)
        return normalised * shrunk.to(normalised.dtype)

    def extra_repr(self) -> str:
        """Describe the layer in the model's printout."""
        return f"{self.num_features}, gamma={self.log_gamma.exp():.4g}, eps={self.eps:g}, momentum={self.momentum}"

    def _least_deviation(self) -> Tensor:
        assert self.running_var is not None
        wide = torch.promote_types(self.running_var.dtype, torch.float32)
        return (self.running_var.min().to(wide) + self.eps).sqrt()


@method(LOW_CURVATURE, cost=_COST)
class LipschitzBatchNorm1d(_LipschitzBatchNorm, nn.BatchNorm1d):
    """Batch norm of (N, C) or (N, C, L) whose Lipschitz constant is at most γ, which is trained.

    ``y = min(1, γ·m)·(x - μ)/√(v + eps)`` with mean μ and variance v of each channel and ``m = min_c √(v_c + eps)``
    over the running variances. Plain batch norm stretches distances by up to ``1/m``; this one by ``min(1/m, γ)``. It
    has no weight and bias of its own. In training mode the batch's own variance takes the place of v, but not in m, so
    the bound holds for evaluation mode.

    The one parameter is ``log_gamma``. No constant can exceed ``1/√eps``, and γ starts there when it is infinite: this
    is as free as infinity, and a penalty on ``|log γ|`` has a value and a gradient.

    Args:
        num_features: C, at least 1.
        gamma: where γ starts, above 0; from ``1/√eps`` on, infinity included, it bounds nothing. The authors' code
            starts at 10.
        eps: added to the variance, above 0.
        momentum: share of the batch in the running statistics, or None for plain means.

    Raises:
        ValueError: if an argument is out of range, or the input has other axes.

    Example:
        >>> layer = LipschitzBatchNorm1d(2, gamma=0.5).eval()
        >>> layer.running_var.copy_(torch.tensor([1.0, 9.0]))
        tensor([1., 9.])
        >>> [round(x, 3) for x in layer(torch.ones(1, 2))[0].tolist()], round(layer.lipschitz_constant.item(), 3)
        ([0.5, 0.167], 0.5)
    """


@method(LOW_CURVATURE, cost=_COST)
class LipschitzBatchNorm2d(_LipschitzBatchNorm, nn.BatchNorm2d):
    """Batch norm of (N, C, H, W) whose Lipschitz constant is at most γ; see :class:`LipschitzBatchNorm1d`.

    Args:
        num_features: C, at least 1.
        gamma: where γ starts, above 0; infinity bounds nothing.
        eps: added to the variance, above 0.
        momentum: share of the batch in the running statistics, or None for plain means.

    Raises:
        ValueError: if an argument is out of range, or the input has other axes.

    Example:
        >>> LipschitzBatchNorm2d(3)
        LipschitzBatchNorm2d(3, gamma=316.2, eps=1e-05, momentum=0.1)
    """
