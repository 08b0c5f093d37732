"""HiResCAM, by Draelos and Carin (2020)."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ClassValue, Explainer, Reference, method
from trueline.explain._layer_values import layer_map


@method(
    Reference(
        authors="Rachel Lea Draelos, Lawrence Carin",
        title="Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks",
        venue="arXiv",
        year=2020,
        arxiv="2011.08891",
    ),
    cost="a forward pass and a backward pass down to the layer; without a layer's name two forward passes",
)
@dataclass(frozen=True)
class HiResCAM(Explainer):
    """What each place of a layer adds to a score, to first order: ``Σ_k ∂f_c/∂A_k ⊙ A_k``.

    Gradients are not averaged over places first, as Grad-CAM does. Where one linear head follows the layer, at once or
    after mean pooling, a map adds up to the logit less its bias.

    Args:
        layer: its qualified name, or None, as for :class:`GradCAM`.
        of: the score, see :func:`trueline.contracts.class_values`.
        relu: whether what speaks against the class becomes zero; the sums above then no longer hold.
        upsample: whether maps are interpolated bilinearly to the size of the images; sums are then those of the coarse
            map times the number of pixels a place, up to the edges.

    Raises:
        ValueError: if the inputs are no images (N, C, H, W), or the layer is unknown or has no spatial map.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> x = torch.ones(1, 3, 8, 8)
        >>> map = HiResCAM(upsample=False).maps(model, x, torch.tensor([1]))
        >>> torch.allclose(map.sum() + model[-1].bias[1], model(x)[0, 1])
        True
    """

    layer: str | None = None
    of: ClassValue = "logit"
    relu: bool = False
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
            _product, model, inputs, target, name="HiResCAM", layer=self.layer, of=self.of, relu=self.relu,
            upsample=self.upsample, create_graph=create_graph,
        )  # fmt: skip


def _product(values: Tensor, gradients: Tensor) -> Tensor:
    return (gradients * values).sum(dim=1)
