"""Explanations of the network with smooth units, by Dombrowski et al. (2019): what SmoothGrad samples, in one pass."""

import math
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Explainer, Reference, method
from trueline.steer import set_beta, steering, steering_of

_KINKED = ("relu", "leaky_relu")


@method(
    Reference(
        authors="Ann-Kathrin Dombrowski, Maximilian Alber, Christopher J. Anders, Marcel Ackermann, "
        "Klaus-Robert Müller, Pan Kessel",
        title="Explanations can be manipulated and geometry is to blame",
        venue="NeurIPS",
        year=2019,
        arxiv="1906.07983",
    ),
    cost="that of the explainer, and four observed forward passes on two samples",
)
@dataclass(frozen=True)
class SmoothedUnits(Explainer):
    """An explainer's map of the network in which every ReLU is a softplus, ``ln(1 + e^(bx))/b``.

    One unit ``ReLU(w·x)`` then has the gradient ``w σ(b·w·x)``: exactly the mean of its gradient under logistic noise
    of scale ``1/b`` on ``w·x``. A LeakyReLU becomes ``αx + (1 - α)·softplus``; max-pooling and smooth activations,
    such as GELU, stay as they are. ReLUs are found by running the model, so that functional, in-place and reused ones
    count. The map belongs to another function: :func:`trueline.steer.smoothed_gradient` says how far that is.

    Args:
        explainer: what explains the smooth network; layers it knows by name keep their names.
        sharpness: b, above 0 and finite, per unit of the pre-activations. The smaller, the smoother.

    Raises:
        ValueError: if the sharpness is out of range, or the model executes no ReLU.
        TypeError: if ``explainer`` is none.

    Example:
        >>> import torch
        >>> from trueline.explain import Gradient
        >>> model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU())
        >>> _ = nn.init.ones_(model[0].weight)
        >>> x = torch.tensor([[0.1, 0.1]])
        >>> map = SmoothedUnits(Gradient(), 5.0).maps(model, x, torch.tensor([0]))  # σ(5·0.2)
        >>> [round(entry, 4) for entry in map[0].tolist()]
        [0.7311, 0.7311]
    """

    explainer: Explainer
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        if not isinstance(self.explainer, Explainer):
            raise TypeError(
                f"explainer must be an Explainer, got {type(self.explainer).__name__}; a method of captum becomes one "
                "by FromCaptum"
            )
        if not 0 < self.sharpness < math.inf:
            raise ValueError(f"sharpness must be above 0 and finite, got {self.sharpness}")

    @property
    def differentiable(self) -> bool:  # type: ignore[override]  # as the explainer inside, so not of the class
        """Whether maps carry a gradient: where those of the explainer do."""
        return self.explainer.differentiable

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B *map"]:
        """Return the explainer's maps of the smooth network, see :class:`trueline.contracts.Explainer`."""
        example = inputs[:2].detach().clone()
        # At β = 1 every unit is what it replaces; then those in the place of a ReLU alone become a softplus of width
        # 1/b, which is β = 0 on that scale.
        with steering(
            model, 1.0, mix=0.0, scale=1 / self.sharpness, example=example, granularity="callsite"
        ) as steered:
            sites = steering_of(steered).sites
            if not (groups := [site.group for site in sites if site.kind in _KINKED]):
                kinds = ", ".join(sorted({site.kind for site in sites}))
                raise ValueError(f"{type(model).__name__} has no ReLU or LeakyReLU to smooth; its activations: {kinds}")
            set_beta(steered, dict.fromkeys(groups, 0.0))
            return self.explainer.maps(steered, inputs, target, create_graph=create_graph)
