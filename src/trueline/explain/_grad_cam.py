"""Grad-CAM, by Selvaraju et al. (2017)."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Explainer, Reference, method
from trueline.explain._layer_values import layer_map

GRAD_CAM = Reference(
    authors="Ramprasaath R. Selvaraju, Michael Cogswell, Abhishek Das, Ramakrishna Vedantam, Devi Parikh, Dhruv Batra",
    title="Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    venue="ICCV",
    year=2017,
    arxiv="1610.02391",
)


@method(
    GRAD_CAM, cost="a forward pass and a backward pass down to the layer; without a layer's name two forward passes"
)
@dataclass(frozen=True)
class GradCAM(Explainer):
    """Which places of a layer speak for a class: ``ReLU(Σ_k α_k A_k)``, where α_k is the mean of ``∂f_c/∂A_k``.

    ``A_k`` is a channel of the layer's output, or a feature of the tokens of a vision transformer, which are laid out
    as the patches they stand for. A map is as coarse as the layer; what is finer is interpolation.

    Args:
        layer: its qualified name, or None for the last layer with a spatial map, of more than one place, that the
            score depends on. Of a layer that runs several times the last run counts.
        of: the score, see :func:`trueline.contracts.class_values`.
        relu: whether what speaks against the class becomes zero, as the authors do.
        upsample: whether maps are interpolated bilinearly to the size of the images.

    Raises:
        ValueError: if the inputs are no images (N, C, H, W), or the layer is unknown or has no spatial map.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> GradCAM().maps(model, torch.ones(5, 3, 8, 8), torch.zeros(5).long()).shape
        torch.Size([5, 8, 8])
    """

    layer: str | None = None
    of: ClassValue = "logit"
    relu: bool = True
    upsample: bool = True

    differentiable: ClassVar[bool] = True

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B h w"]:
        """Return the maps, see :class:`trueline.contracts.Explainer`."""
        return layer_map(
            _weighted, model, inputs, target, name="GradCAM", layer=self.layer, of=self.of, relu=self.relu,
            upsample=self.upsample, create_graph=create_graph,
        )  # fmt: skip


def _weighted(values: Tensor, gradients: Tensor) -> Tensor:
    return (gradients.mean(dim=(2, 3), keepdim=True) * values).sum(dim=1)
