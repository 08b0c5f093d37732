"""Attention by a kernel in the place of the softmax: Katharopoulos et al. (2020), Lu et al. (2021)."""

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import Reference, method

Kernel = Literal["softmax", "elu1", "gaussian"]
"""How much a token attends to another, by name; see :class:`KernelAttention`."""


@method(
    Reference(
        authors="Angelos Katharopoulos, Apoorv Vyas, Nikolaos Pappas, François Fleuret",
        title="Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention",
        venue="ICML",
        year=2020,
        arxiv="2006.16236",
    ),
    Reference(
        authors="Jiachen Lu, Jinghan Yao, Junge Zhang, Xiatian Zhu, Hang Xu, Weiguo Gao, Chunjing Xu, Tao Xiang, "
        "Li Zhang",
        title="SOFT: Softmax-free Transformer with Linear Complexity",
        venue="NeurIPS",
        year=2021,
        arxiv="2110.11945",
    ),
    cost="T²·dim multiply-adds for T tokens and as much for the mixtures; elu1 at most 2·T·dim²/heads in all",
)
class KernelAttention(nn.Module):
    """Multi-head attention of tokens on each other with a kernel κ: ``Σ_j κ(q_i, k_j)·v_j / (Σ_j κ(q_i, k_j) + ε)``.

    With d features a head, ``κ(q, k)`` is

    * ``"softmax"``: ``exp(qᵀk/√d)``, with ε = 0: softmax attention, as :class:`SelfAttention`;
    * ``"elu1"``: ``φ(q)ᵀφ(k)`` with ``φ = elu + 1``, by Katharopoulos et al. Its mixtures cost time linear in the
      number of tokens, and are computed in the order that is cheaper;
    * ``"gaussian"``: ``exp(-‖q - k‖²/(2√d))``, by Lu et al., who do not normalise it.

    Without normalisation the sum alone is returned. Weights are then tied to no total: a token that raises one need not
    lower the others. Weights have the names of :class:`SelfAttention`, which it can take the place of.

    Args:
        dim: features of a token.
        heads: number of heads; divides ``dim``.
        kernel: the name of κ.
        normalise: whether to divide by the sum; softmax always does.
        epsilon: ε, at least 0, in units of κ. It keeps a row that attends to nothing at zero instead of 0/0; rows of
            normalised weights add up to ``1 - ε/(Σ + ε)``.

    Raises:
        ValueError: if ``heads`` does not divide ``dim``, the kernel is unknown, ``epsilon`` is negative, or softmax is
            not to be normalised.

    Example:
        >>> attention = KernelAttention(dim=8, heads=2, kernel="elu1")
        >>> tokens = torch.zeros(1, 5, 8)
        >>> attention(tokens).shape, attention.attention_weights(tokens)[0, 0, 0]
        (torch.Size([1, 5, 8]), tensor([0.2000, 0.2000, 0.2000, 0.2000, 0.2000], grad_fn=...))
    """

    def __init__(
        self, dim: int, heads: int, kernel: Kernel = "softmax", *, normalise: bool = True, epsilon: float = 1e-6
    ) -> None:
        super().__init__()
        if dim < 1 or heads < 1 or dim % heads:
            raise ValueError(f"heads must divide dim, got dim={dim} and heads={heads}")
        if kernel not in get_args(Kernel):
            raise ValueError(f"kernel must be one of {', '.join(map(repr, get_args(Kernel)))}, got {kernel!r}")
        if kernel == "softmax" and not normalise:
            raise ValueError("softmax attention is normalised; choose kernel='elu1' or 'gaussian' to leave that out")
        if not 0 <= epsilon < math.inf:
            raise ValueError(f"epsilon must be finite and at least 0, got {epsilon}")
        self.heads, self.kernel, self.normalise, self.epsilon = heads, kernel, normalise, epsilon
        self.qkv = xavier_linear(dim, 3 * dim)
        self.out = xavier_linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        """Return one mixture of values for each token.

        Args:
            tokens: (B, T, E) T tokens of E = ``dim`` features.

        Returns:
            (B, T, E) mixtures, projected.
        """
        query, key, value = self._heads(tokens)
        if self.kernel == "softmax":
            mixed = F.scaled_dot_product_attention(query, key, value)
        elif self.kernel == "elu1" and query.shape[-2] > query.shape[-1]:
            query, key = _positive(query), _positive(key)
            mixed = query @ (key.mT @ value)
            if self.normalise:
                mixed = mixed / (query @ key.sum(dim=-2).unsqueeze(-1) + self.epsilon)
        else:
            mixed = self._weights(query, key) @ value
        projected: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected

    def attention_weights(self, tokens: Float[Tensor, "B T E"]) -> Float[Tensor, "B heads T T"]:
        """Return what the values are weighted with, at least 0.

        Args:
            tokens: (B, T, E) what :meth:`forward` takes.

        Returns:
            (B, heads, T, T): entry ``[b, h, i, j]`` is how much token i takes of token j, as a share if normalised,
            otherwise in units of κ.
        """
        query, key, _ = self._heads(tokens)
        return self._weights(query, key)

    def extra_repr(self) -> str:
        """Return what PyTorch prints of the settings."""
        return f"heads={self.heads}, kernel={self.kernel!r}, normalise={self.normalise}"

    def _heads(self, tokens: Tensor) -> Tensor:
        """Return queries, keys and values, (3, B, heads, T, d)."""
        split: Tensor = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return split

    def _weights(self, query: Tensor, key: Tensor) -> Tensor:
        scale = math.sqrt(query.shape[-1])
        if self.kernel == "softmax":
            return (query @ key.mT / scale).softmax(dim=-1)
        if self.kernel == "elu1":
            weights = _positive(query) @ _positive(key).mT
        else:
            lengths = query.square().sum(dim=-1).unsqueeze(-1) + key.square().sum(dim=-1).unsqueeze(-2)
            weights = torch.exp((query @ key.mT - lengths / 2) / scale)
        return weights / (weights.sum(dim=-1, keepdim=True) + self.epsilon) if self.normalise else weights


def xavier_linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer drawn as by Glorot and Bengio (2010), with biases of zero, as in every part of a ViT.

    Args:
        inputs: features it takes.
        outputs: features it returns.
    """
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _positive(features: Tensor) -> Tensor:
    return F.elu(features) + 1
