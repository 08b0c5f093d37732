"""Attention rollout: identity, uniform attention, and a slow twin; what is widely copied wrongly."""

import pytest
import torch
from oracles.attention_rollout import attention_rollout
from torch import Tensor, nn

from trueline.contracts._check_explainer import check_explainer
from trueline.explain import attribute
from trueline.explain._attention_maps import attention_maps
from trueline.explain._attention_rollout import AttentionRollout
from trueline.models import ConvNet, ViT


class Told(nn.Module):
    """Attention whose weights are those it is given, the same for every sample or one each."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def attention_weights(self, tokens: Tensor) -> Tensor:
        return self.weights[: len(tokens)].expand(len(tokens), -1, -1, -1)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens


class Tokens(nn.Module):
    """Images 4x4, cut into four patches, after a class token if asked; and layers of told attention."""

    def __init__(self, *layers: Tensor, class_token: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Told(weights) for weights in layers))
        self.class_token = class_token

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unfold(2, 2, 2).unfold(3, 2, 2).flatten(2, 3).flatten(3).transpose(1, 2).flatten(2)
        if self.class_token:
            tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        return self.layers(tokens).mean(1)[:, :2]


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def shares(*shape: int) -> Tensor:
    return drawn(*shape).softmax(-1)


X = drawn(3, 1, 4, 4)


def rolled(model: nn.Module, **settings: object) -> Tensor:
    return attribute(model, X, explainer=AttentionRollout(upsample=False, **settings)).maps.flatten(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [1, 4])
def test_of_identity_attention_it_is_the_identity(depth: int) -> None:
    layers = [torch.eye(4)[None, None]] * depth
    torch.testing.assert_close(rolled(Tokens(*layers)), torch.full((3, 4), 0.25, dtype=torch.float64))
    with_token = [torch.eye(5)[None, None]] * depth
    assert not rolled(Tokens(*with_token, class_token=True)).any()  # the class token keeps all to itself


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_of_uniform_attention_it_has_a_closed_form(depth: int) -> None:
    """``Â^L = 2^-L I + (1 - 2^-L) 11ᵀ/n``: each patch has (1 - 2^-L)/n of the class token's row."""
    layers = [torch.full((1, 2, 5, 5), 0.2)] * depth
    expected = torch.full((3, 4), (1 - 2.0**-depth) / 5, dtype=torch.float64)
    torch.testing.assert_close(rolled(Tokens(*layers, class_token=True)), expected, rtol=1e-6, atol=0)
    layers = [torch.full((1, 2, 4, 4), 0.25)] * depth
    torch.testing.assert_close(rolled(Tokens(*layers)), torch.full((3, 4), 0.25, dtype=torch.float64))


@pytest.mark.parametrize("class_token", [True, False])
def test_against_the_slow_twin(class_token: bool) -> None:
    tokens = 4 + class_token
    layers = [shares(3, 2, tokens, tokens), shares(3, 2, tokens, tokens) ** 2, shares(3, 1, tokens, tokens)]
    found = rolled(Tokens(*layers, class_token=class_token))
    for sample in range(3):
        slow = attention_rollout([weights[sample] for weights in layers])
        torch.testing.assert_close(found[sample], slow[0, 1:] if class_token else slow.mean(0))


def test_of_a_vision_transformer_against_the_slow_twin() -> None:
    torch.manual_seed(0)
    model, x = ViT((1, 8, 12), 3, patch=2, dim=8, depth=3).double(), drawn(2, 1, 8, 12)
    found = attribute(model, x, explainer=AttentionRollout(upsample=False)).maps
    layers = attention_maps(model, x)
    for sample in range(2):
        slow = attention_rollout([weights[sample] for weights in layers]).mean(0).view(4, 6)
        torch.testing.assert_close(found[sample], slow)
    torch.testing.assert_close(found.sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_rows_are_divided_by_their_own_sums() -> None:
    """Weights that do not add up to 1: divided along the wrong axis, rows would no longer be shares."""
    weights = 3 * torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = rolled(Tokens(weights, weights), heads="max")
    torch.testing.assert_close(found.sum(1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(("heads", "joined"), [("mean", 0.3), ("max", 0.5), ("min", 0.1)])
def test_heads_become_one(heads: str, joined: float) -> None:
    weights = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    weights[0, :, 0, 1] = torch.tensor([0.1, 0.5])
    found = rolled(Tokens(weights, class_token=True), heads=heads)[0]
    torch.testing.assert_close(found, torch.tensor([joined / (1 + joined), 0, 0, 0], dtype=torch.float64))


def test_each_sample_discards_its_own_smallest_weights() -> None:
    weights = shares(3, 1, 4, 4)
    found = rolled(Tokens(weights), discard=0.5)
    for sample in range(3):
        kept = weights[sample, 0].flatten().sort(descending=True).indices[:8]
        cut = torch.zeros(16, dtype=torch.float64)
        cut[kept] = weights[sample, 0].flatten()[kept]
        slow = attention_rollout([cut.view(1, 4, 4)]).mean(0)
        torch.testing.assert_close(found[sample], slow)
    uniform = torch.full((1, 1, 4, 4), 0.25, dtype=torch.float64)
    torch.testing.assert_close(rolled(Tokens(uniform), discard=0.5), rolled(Tokens(uniform)))  # ties stay


def test_the_battery() -> None:
    torch.manual_seed(0)
    model, x = ViT((1, 8, 8), 3, patch=2, dim=8, depth=2), drawn(4, 1, 8, 8).float()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    for explainer in (AttentionRollout(), AttentionRollout("max", 0.3, upsample=False)):
        check_explainer(explainer, model, x, target_matters=False)


def test_what_cannot_be_rolled_out_is_refused() -> None:
    for bad, message in (({"heads": "sum"}, "heads"), ({"discard": 1.0}, "discard"), ({"discard": -0.1}, "discard")):
        with pytest.raises((ValueError, TypeError), match=message):
            AttentionRollout(**bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="runs no attention"):
        attribute(ConvNet((1, 16, 16), 2), drawn(2, 1, 16, 16).float(), explainer=AttentionRollout())
    with pytest.raises(ValueError, match="explains images"):
        attribute(nn.Linear(4, 2).double(), drawn(2, 4), explainer=AttentionRollout())
    for layers, message in (
        ([shares(3, 1, 4, 4), shares(3, 1, 7, 7)], "the same in every layer"), ([shares(3, 1, 7, 7)], "got 7 tokens"),
        ([shares(3, 1, 4, 3)], "4 queries on 3 keys"), ([-shares(3, 1, 4, 4)], "at least 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            rolled(Tokens(*layers))
