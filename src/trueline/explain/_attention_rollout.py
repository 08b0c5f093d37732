"""Attention rollout, by Abnar and Zuidema (2020)."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Explainer, Reference, method
from trueline.explain._attention_maps import run_with_attention
from trueline.explain._spatial import check_images, token_grid, upsampled

Heads = Literal["mean", "max", "min"]


@method(
    Reference(
        authors="Samira Abnar, Willem Zuidema",
        title="Quantifying Attention Flow in Transformers",
        venue="ACL",
        year=2020,
        arxiv="2005.00928",
    ),
    cost="a forward pass, and a product of T x T matrices a layer",
)
@dataclass(frozen=True)
class AttentionRollout(Explainer):
    """How much of each patch reaches the output if all that tokens do is mix: ``Π_l Â_l``, ``Â = rows(½(A + I))``.

    ``A`` is a layer's attention over its heads, ``I`` the skip connection, and ``rows`` divides each row by its sum.
    Read is the row of the class token where there is one, otherwise the mean over all tokens, as in a transformer that
    averages them. The map does not know the class: it is the same for every target.

    Args:
        heads: how the heads of a layer become one: ``"mean"``, as the authors do, ``"max"`` or ``"min"``.
        discard: share in [0, 1) of each sample's and layer's smallest weights that are set to zero first, ties at the
            edge kept; the authors discard none.
        upsample: whether maps are interpolated bilinearly to the size of the images; those of patches add up to 1, less
            what the class token keeps to itself.

    Raises:
        ValueError: if a setting is out of range, the inputs are no images (N, C, H, W), no attention runs that
            :func:`attention_maps` can see, its weights are negative, or its tokens are no grid of patches.

    Example:
        >>> from trueline.models import ViT
        >>> model = ViT((1, 8, 8), num_classes=2, patch=2, dim=8, depth=3)
        >>> map = AttentionRollout(upsample=False).maps(model, torch.zeros(5, 1, 8, 8), torch.zeros(5).long())
        >>> map.shape, round(map[0].sum().item(), 4)
        (torch.Size([5, 4, 4]), 1.0)
    """

    heads: Heads = "mean"
    discard: float = 0.0
    upsample: bool = True

    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.heads not in get_args(Heads):
            raise ValueError(f"heads must be one of {', '.join(map(repr, get_args(Heads)))}, got {self.heads!r}")
        if not 0 <= self.discard < 1:
            raise ValueError(f"discard must lie in [0, 1), got {self.discard}")

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B h w"]:
        """Return the mixtures, see :class:`trueline.contracts.Explainer`."""
        del target
        check_images(inputs, "AttentionRollout")
        with torch.set_grad_enabled(create_graph):
            layers = [self._mixing(weights) for weights in run_with_attention(model, inputs.clone())]
            sizes = {layer.shape[1:] for layer in layers}
            grid = token_grid(layers[0].shape[1], *inputs.shape[2:])
            if len(sizes) > 1 or grid is None:
                raise ValueError(
                    f"tokens must be the patches of the {inputs.shape[2]}x{inputs.shape[3]} image after at most one "
                    f"class token, the same in every layer, got {', '.join(str(size[0]) for size in sizes)} tokens"
                )
            rows, columns, before = grid
            rolled = layers[0]
            for layer in layers[1:]:
                rolled = layer @ rolled
            read = rolled[:, 0, 1:] if before else rolled.mean(dim=1)
            maps = read.reshape(-1, rows, columns).to(inputs.dtype)
            return upsampled(maps, inputs) if self.upsample else maps

    def _mixing(self, weights: Tensor) -> Tensor:
        """Return the rows of ½(A + I), normalised, (B, T, T) float64."""
        if weights.shape[2] != weights.shape[3]:
            raise ValueError(
                f"rollout needs attention of tokens on each other, got {weights.shape[2]} queries on "
                f"{weights.shape[3]} keys"
            )
        if (weights < 0).any():
            raise ValueError("rollout needs attention weights of at least 0: they are shares of a mixture")
        weights = weights.double()
        joined = weights.mean(dim=1) if self.heads == "mean" else getattr(weights, f"a{self.heads}")(dim=1)
        if dropped := int(self.discard * joined.shape[1] ** 2):
            least_kept = joined.detach().flatten(1).sort(dim=1).values[:, dropped]
            joined = joined.where(joined >= least_kept[:, None, None], 0)
        mixed = (joined + torch.eye(joined.shape[1], device=joined.device)) / 2
        normalised: Tensor = mixed / mixed.sum(dim=2, keepdim=True)
        return normalised
