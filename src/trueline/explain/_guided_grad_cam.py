"""Guided Grad-CAM, by Selvaraju et al. (2017)."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Explainer, method
from trueline.explain._grad_cam import GRAD_CAM, GradCAM
from trueline.explain._guided_backpropagation import GuidedBackpropagation


@method(GRAD_CAM, cost="those of Grad-CAM and of guided backpropagation")
@dataclass(frozen=True)
class GuidedGradCAM(Explainer):
    """Guided backpropagation times the Grad-CAM map at the size of the images: fine, and about the class.

    The fine part is that of :class:`GuidedBackpropagation`, with its defects.

    Args:
        layer: qualified name of the layer for :class:`GradCAM`, or None.
        of: the score, see :func:`trueline.contracts.class_values`.

    Raises:
        ValueError: if the inputs are no images (N, C, H, W), or the layer is unknown or has no spatial map.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> GuidedGradCAM().maps(model, torch.ones(5, 3, 8, 8), torch.zeros(5).long()).shape
        torch.Size([5, 3, 8, 8])
    """

    layer: str | None = None
    of: ClassValue = "logit"

    differentiable: ClassVar[bool] = True

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B *shape"]:
        """Return the products, see :class:`trueline.contracts.Explainer`."""
        places = GradCAM(self.layer, self.of).maps(model, inputs, target, create_graph=create_graph)
        guided = GuidedBackpropagation(self.of).maps(model, inputs, target, create_graph=create_graph)
        return guided * places[:, None]
