"""A small vision transformer after Dosovitskiy et al., with attention that can be exchanged."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import Reference, method
from trueline.models._classifier import Classifier, image_shape
from trueline.models._kernel_attention import Kernel, KernelAttention, xavier_linear


class SelfAttention(nn.Module):
    """Multi-head softmax attention of tokens on each other: ``softmax(Q Kᵀ / sqrt(dim / heads)) V`` a head.

    Args:
        dim: features of a token.
        heads: number of heads; divides ``dim``.

    Raises:
        ValueError: if ``heads`` does not divide ``dim``.

    Example:
        >>> SelfAttention(dim=8, heads=2)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim < 1 or heads < 1 or dim % heads:
            raise ValueError(f"heads must divide dim, got dim={dim} and heads={heads}")
        self.heads = heads
        self.qkv = xavier_linear(dim, 3 * dim)
        self.out = xavier_linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        """Return one mixture of values for each token.

        Args:
            tokens: (B, T, E) T tokens of E = ``dim`` features.

        Returns:
            (B, T, E) mixtures, projected.
        """
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


@method(
    Reference(
        "Alexey Dosovitskiy, Lucas Beyer, Alexander Kolesnikov, Dirk Weissenborn, Xiaohua Zhai, Thomas Unterthiner, "
        "Mostafa Dehghani, Matthias Minderer, Georg Heigold, Sylvain Gelly, Jakob Uszkoreit, Neil Houlsby",
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "ICLR",
        2021,
        arxiv="2010.11929",
    ),
    Reference(
        "Lucas Beyer, Xiaohua Zhai, Alexander Kolesnikov",
        "Better plain ViT baselines for ImageNet-1k",
        "arXiv",
        2022,
        arxiv="2205.01580",
    ),
    cost="810,890 parameters and 57.0M multiply-adds for a 32x32 image and 10 classes",
)
class ViT(Classifier):
    """Cut the image into patches, add learned positions, and pass the tokens through pre-norm transformer blocks.

    The features are the mean of the tokens after a last layer norm. A class token would do as well; the mean
    needs no extra token, learns faster on small data (Beyer et al. 2022), and keeps every token an image patch.

    Args:
        input_shape: channels, height and width; ``patch`` divides both sides.
        num_classes: C, at least 2.
        patch: side of a patch, in pixels.
        dim: features of a token.
        depth: number of blocks.
        heads: heads of each attention; divides ``dim``.
        mlp_ratio: hidden units of each block's MLP over ``dim``.
        dropout: probability in [0, 1) of dropping an entry of the embedded tokens and of each block's two outputs.
        attention: ``"softmax"`` for :class:`SelfAttention`; ``"elu1"`` or ``"gaussian"`` for a
            :class:`KernelAttention`; or your own ``(dim, heads) -> nn.Module`` from tokens (B, T, dim) to tokens of the
            same shape.
        normalise_attention: whether weights that a token gives add up to 1; False only with ``"elu1"`` and
            ``"gaussian"``.

    Raises:
        ValueError: if a size does not divide as said, is not positive, the inputs have another shape, or an attention
            has no such name or cannot go without normalisation.

    Example:
        >>> model = ViT((1, 8, 8), num_classes=10, patch=2, dim=16, depth=1)
        >>> model.features(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_classes: int,
        *,
        patch: int = 4,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.0,
        attention: Kernel | Callable[[int, int], nn.Module] = "softmax",
        normalise_attention: bool = True,
    ) -> None:
        super().__init__(input_shape, num_classes)
        channels, height, width = image_shape(input_shape, needed_by="ViT")
        if patch < 1 or height % patch or width % patch:
            raise ValueError(f"patch must divide the image's sides, got patch={patch} for {height}x{width}")
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        hidden = round(mlp_ratio * dim)
        if hidden < 1:
            raise ValueError(f"mlp_ratio must give the MLP a hidden unit, got {mlp_ratio} for dim={dim}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        make = _maker(attention, normalise_attention)
        self.patches = nn.Conv2d(channels, dim, kernel_size=patch, stride=patch)
        self.positions = nn.Parameter(torch.empty(1, height * width // patch**2, dim))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(_Block(dim, make(dim, heads), hidden, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, num_classes)

    def features(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B D"]:
        """Return the mean token, (B, dim)."""
        if inputs.shape[1:] != self.input_shape:
            raise ValueError(
                f"this ViT has positions for inputs of shape {self.input_shape}, got {tuple(inputs.shape[1:])}; "
                "resize the inputs or build it for their shape"
            )
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        tokens = self.blocks(self.dropout(tokens + self.positions))
        mean: Tensor = self.norm(tokens).mean(dim=1)
        return mean


class _Block(nn.Module):
    """Attention, then an MLP, each on normalised tokens and added to them."""

    def __init__(self, dim: int, attention: nn.Module, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(xavier_linear(dim, hidden), nn.GELU(), xavier_linear(hidden, dim), nn.Dropout(dropout))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.dropout(self.attention(self.norm1(tokens)))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


def _maker(attention: Kernel | Callable[[int, int], nn.Module], normalise: bool) -> Callable[[int, int], nn.Module]:
    if isinstance(attention, str):
        if attention == "softmax" and normalise:
            return SelfAttention
        return partial(KernelAttention, kernel=attention, normalise=normalise)
    if not normalise:
        raise ValueError("normalise_attention=False goes with the names 'elu1' and 'gaussian'; your own decides itself")
    return attention
