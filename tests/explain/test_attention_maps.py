"""Attention weights, wherever they are computed."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts._model_state import ModelState
from trueline.explain._attention_maps import attention_maps
from trueline.models import MLP, ViT


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Attends(nn.Module):
    """One attention of the inputs (B, T, 8) on themselves, by a function, then a head on its mean token."""

    def __init__(self, attend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.attend = attend

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x).flatten(2).mean(dim=1)[:, :2]


def heads_of(x: Tensor) -> Tensor:
    return x.unflatten(2, (2, 4)).transpose(1, 2)


def by_hand(query: Tensor, key: Tensor, scale: float, allowed: Callable[[int, int], bool] | None = None) -> Tensor:
    """Softmax of scaled dot products, entry by entry."""
    out = torch.zeros(*query.shape[:3], key.shape[2], dtype=query.dtype)
    for b in range(out.shape[0]):
        for h in range(out.shape[1]):
            for i in range(out.shape[2]):
                scores = [
                    math.exp(float(query[b, h, i] @ key[b, h, j]) * scale) * (allowed is None or allowed(i, j))
                    for j in range(out.shape[3])
                ]
                out[b, h, i] = torch.tensor(scores, dtype=query.dtype) / sum(scores)
    return out


MASK = torch.tensor([[True, False, True], [True, True, False], [False, True, True]])


@pytest.mark.parametrize(
    ("options", "allowed", "scale"),
    [
        ({}, None, 0.5), ({"scale": 2.0}, None, 2.0), ({"is_causal": True}, lambda i, j: j <= i, 0.5),
        ({"attn_mask": MASK}, lambda i, j: bool(MASK[i, j]), 0.5),
        ({"attn_mask": torch.where(MASK, 0.0, -math.inf).double()}, lambda i, j: bool(MASK[i, j]), 0.5),
    ],
)  # fmt: skip
def test_weights_of_the_fused_function(
    options: dict[str, Any], allowed: Callable[[int, int], bool] | None, scale: float
) -> None:
    x = drawn(2, 3, 8)

    def attend(x: Tensor) -> Tensor:
        parts = heads_of(x)
        return F.scaled_dot_product_attention(parts, 0.5 * parts, parts, **options).transpose(1, 2)

    (found,) = attention_maps(Attends(attend), x)
    torch.testing.assert_close(found, by_hand(heads_of(x), 0.5 * heads_of(x), scale, allowed))


def test_grouped_queries_and_one_head() -> None:
    x = drawn(2, 3, 8)

    def grouped(x: Tensor) -> Tensor:
        parts = x.unflatten(2, (4, 2)).transpose(1, 2)
        few = parts[:, :2]
        return F.scaled_dot_product_attention(parts, few, few, enable_gqa=True).transpose(1, 2)

    parts = x.unflatten(2, (4, 2)).transpose(1, 2)
    (found,) = attention_maps(Attends(grouped), x)
    torch.testing.assert_close(found, by_hand(parts, parts[:, [0, 0, 1, 1]], 1 / math.sqrt(2)))
    (found,) = attention_maps(Attends(lambda x: F.scaled_dot_product_attention(x, x, x)), x)
    torch.testing.assert_close(found, by_hand(x[:, None], x[:, None], 1 / math.sqrt(8)))


def test_weights_times_values_is_what_the_function_returns() -> None:
    torch.manual_seed(0)
    model, x = ViT((1, 8, 8), 3, patch=2, dim=8, depth=1).double().eval(), drawn(2, 1, 8, 8)
    attention = model.blocks[0].attention
    passed: list[Tensor] = []
    handles = [
        attention.qkv.register_forward_hook(lambda *given: passed.append(given[2].detach())),
        attention.out.register_forward_hook(lambda *given: passed.append(given[1][0].detach())),
    ]
    (weights,) = attention_maps(model, x)
    for handle in handles:
        handle.remove()
    values = passed[0].unflatten(-1, (3, 4, -1))[:, :, 2].transpose(1, 2)
    torch.testing.assert_close((weights @ values).transpose(1, 2).flatten(2), passed[1])


class Encoder(nn.Module):
    """PyTorch's own layers, which have a fast path of one fused operation when nothing needs a gradient."""

    def __init__(self, *, whole: bool, need_weights: bool = False, first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.need_weights, self.first, self.seen = need_weights, first, []
        self.layer: nn.Module = (
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
            if whole
            else nn.MultiheadAttention(8, 2, batch_first=first)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.MultiheadAttention):
            given = x if self.first else x.transpose(0, 1)
            out, weights = self.layer(given, given, given, need_weights=self.need_weights)
            self.seen.append(weights)
            return self.head((out if self.first else out.transpose(0, 1)).mean(1))
        return self.head(self.layer(x).mean(1))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention(need_weights: bool, first: bool) -> None:
    model, x = Encoder(whole=False, need_weights=need_weights, first=first).double().eval(), drawn(2, 5, 8)
    (found,) = attention_maps(model, x)
    query, key, _ = (x @ model.layer.in_proj_weight.T + model.layer.in_proj_bias).detach().chunk(3, dim=2)
    torch.testing.assert_close(found, by_hand(heads_of(query), heads_of(key), 0.5))
    if need_weights:
        torch.testing.assert_close(model.seen[-1], found.mean(1))  # the module returns what it was asked for
    else:
        assert model.seen[-1] is None


@pytest.mark.parametrize("stacked", [False, True])
def test_transformer_layers_leave_their_fast_path(stacked: bool) -> None:
    model, x = Encoder(whole=True).double().eval(), drawn(2, 5, 8)
    if stacked:
        model.layer = nn.TransformerEncoder(model.layer, 3, enable_nested_tensor=False)  # type: ignore[arg-type]
    found = attention_maps(model, x)
    assert [tuple(weights.shape) for weights in found] == [(2, 2, 5, 5)] * (3 if stacked else 1)
    for weights in found:
        torch.testing.assert_close(weights.sum(3), torch.ones(2, 2, 5, dtype=torch.float64))


class Kernel(nn.Module):
    """An attention that tells its own weights, and uses the fused function besides."""

    def attention_weights(self, tokens: Tensor) -> Tensor:
        return (tokens @ tokens.mT).exp()[:, None]

    def forward(self, tokens: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(tokens, tokens, self.attention_weights(tokens)[:, 0] @ tokens)


def test_a_module_that_tells_its_weights_is_asked_once() -> None:
    x = drawn(2, 5, 8) / 4
    model = nn.Sequential(Kernel(), nn.Flatten(), nn.Linear(40, 2)).double()
    (found,) = attention_maps(model, x)
    torch.testing.assert_close(found, (x @ x.mT).exp()[:, None])
    mixed = nn.Sequential(Kernel(), Attends(lambda x: F.scaled_dot_product_attention(x, x, x))).double()
    assert len(attention_maps(mixed, x)) == 2


def test_layers_come_in_the_order_in_which_they_run_and_the_model_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model, x = ViT((1, 8, 8), 3, patch=2, dim=8, depth=3).train(), drawn(2, 1, 8, 8).float()
    state = ModelState(model)
    found = attention_maps(model, x)
    state.check(model, "after attention_maps")
    assert not any(weights.requires_grad for weights in found)
    assert torch.equal(attention_maps(model, x)[2], found[2])
    nn.init.zeros_(model.blocks[1].attention.qkv.weight)
    uniform = attention_maps(model, x)
    assert torch.equal(uniform[0], found[0])
    torch.testing.assert_close(uniform[1], torch.full((2, 4, 16, 16), 1 / 16))
    assert not torch.equal(uniform[2], found[2])


def test_what_attends_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="MLP runs no attention that can be seen"):
        attention_maps(MLP((5,), 3, hidden=(4,)), torch.zeros(2, 5))
    windows = Attends(lambda x: F.scaled_dot_product_attention(*[x.reshape(4, 2, 8)] * 3).reshape(2, 4, 8))
    with pytest.raises(ValueError, match="attention inside windows is not supported"):
        attention_maps(windows, drawn(2, 4, 8))
