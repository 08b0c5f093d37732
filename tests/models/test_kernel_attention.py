"""Attention by kernels: the closed forms of the weights, what leaves them unchanged, and where softmax is stiff."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trueline.explain import attention_maps
from trueline.models import SelfAttention, ViT, build
from trueline.models._kernel_attention import KernelAttention
from trueline.train import RunConfig, load_model, train

KINDS: list[tuple[Any, bool]] = [
    ("softmax", True),
    ("elu1", True),
    ("elu1", False),
    ("gaussian", True),
    ("gaussian", False),
]


def made(kernel: Any, normalise: bool, *, dim: int = 12, heads: int = 3, **options: Any) -> KernelAttention:
    torch.manual_seed(0)
    layer = KernelAttention(dim, heads, kernel, normalise=normalise, **options).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kappa(kernel: str, query: Tensor, key: Tensor) -> float:
    size = len(query)
    if kernel == "softmax":
        return math.exp((query @ key).item() / math.sqrt(size))
    if kernel == "gaussian":
        return math.exp(-(query - key).square().sum().item() / (2 * math.sqrt(size)))
    phi = [[value + 1 if value > 0 else math.exp(value) for value in row.tolist()] for row in (query, key)]
    return sum(a * b for a, b in zip(*phi, strict=True))


def by_hand(layer: KernelAttention, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and outputs by the formula, pair by pair."""
    samples, count, dim = tokens.shape
    size = dim // layer.heads
    query, key, value = (tokens @ layer.qkv.weight.T + layer.qkv.bias).split(dim, dim=-1)
    weights, mixed = tokens.new_zeros(samples, layer.heads, count, count), torch.zeros_like(tokens)
    for b in range(samples):
        for h in range(layer.heads):
            own = slice(h * size, (h + 1) * size)
            for i in range(count):
                row = [kappa(layer.kernel, query[b, i, own], key[b, j, own]) for j in range(count)]
                epsilon = 0.0 if layer.kernel == "softmax" else layer.epsilon
                total = sum(row) + epsilon if layer.normalise else 1.0
                for j in range(count):
                    weights[b, h, i, j] = row[j] / total
                    mixed[b, i, own] += row[j] / total * value[b, j, own]
    return weights, mixed @ layer.out.weight.T + layer.out.bias


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [3, 7])  # fewer and more tokens than features of a head: both orders of elu1
def test_it_is_the_formula_pair_by_pair(kind: tuple[Any, bool], count: int) -> None:
    layer, tokens = made(*kind, epsilon=0.01), drawn(2, count, 12)
    weights, outputs = by_hand(layer, tokens)
    torch.testing.assert_close(layer.attention_weights(tokens), weights)
    torch.testing.assert_close(layer(tokens), outputs)


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_softmax_is_self_attention(heads: int) -> None:
    torch.manual_seed(0)
    own, peer = KernelAttention(12, heads, "softmax").double(), SelfAttention(12, heads).double()
    peer.load_state_dict(own.state_dict())
    tokens = drawn(2, 5, 12)
    torch.testing.assert_close(own(tokens), peer(tokens))


@pytest.mark.parametrize("kernel", ["softmax", "elu1", "gaussian"])
def test_normalised_weights_are_shares(kernel: Any) -> None:
    weights = made(kernel, True, epsilon=0.0).attention_weights(drawn(2, 7, 12))
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 7, dtype=torch.float64))
    loose = made(kernel, True, epsilon=0.3).attention_weights(drawn(2, 7, 12)).sum(dim=-1)
    if kernel != "softmax":
        totals = made(kernel, False).attention_weights(drawn(2, 7, 12)).sum(dim=-1)
        torch.testing.assert_close(loose, totals / (totals + 0.3))


def test_a_row_that_attends_to_nothing_is_zero_and_not_nan() -> None:
    layer = made("gaussian", True)
    tokens = 1e4 * drawn(1, 4, 12)
    assert (layer.attention_weights(tokens) == 0).all()
    torch.testing.assert_close(layer(tokens), layer.out.bias.expand(1, 4, 12))


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_in_another_order_are_mixed_in_that_order(kind: tuple[Any, bool]) -> None:
    layer, tokens = made(*kind), drawn(2, 7, 12)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(tokens[:, order]), layer(tokens)[:, order])
    weights = layer.attention_weights(tokens)
    torch.testing.assert_close(layer.attention_weights(tokens[:, order]), weights[:, :, order][..., order])


@pytest.mark.parametrize("kernel", ["elu1", "gaussian"])
def test_without_normalisation_a_weight_does_not_know_the_other_tokens(kernel: Any) -> None:
    tokens = drawn(1, 7, 12)
    for normalise, alone in ((False, True), (True, False)):
        layer = made(kernel, normalise)
        fewer = layer.attention_weights(tokens[:, :4])
        assert torch.allclose(fewer, layer.attention_weights(tokens)[..., :4, :4]) is alone


def test_a_token_at_its_own_key_has_the_gaussian_weight_one() -> None:
    layer = made("gaussian", False)
    with torch.no_grad():
        layer.qkv.weight[12:24] = layer.qkv.weight[:12]
        layer.qkv.bias[12:24] = layer.qkv.bias[:12]
    weights = layer.attention_weights(drawn(2, 5, 12))
    torch.testing.assert_close(weights.diagonal(dim1=-2, dim2=-1), torch.ones(2, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(weights, weights.mT)


@pytest.mark.parametrize("kind", KINDS)
def test_its_derivatives_are_right_to_the_second_order(kind: tuple[Any, bool]) -> None:
    layer = made(*kind, dim=4, heads=2)
    tokens = drawn(1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(layer, (tokens,))
    if kind[0] != "softmax":  # PyTorch's own attention is fused on some processors, without a second derivative
        assert torch.autograd.gradgradcheck(layer, (tokens,))


def test_softmax_moves_only_where_it_is_neither_sure_nor_indifferent() -> None:
    """``J = diag(a) - aaᵀ``: ``max_i a_i(1 - a_i) <= ‖J‖₂ <= 2·max_i a_i(1 - a_i) <= 1/2``."""
    for seed in range(50):
        scores = drawn(6, seed=seed) * 10 ** (seed % 3 - 1)
        jacobian = torch.autograd.functional.jacobian(lambda s: s.softmax(dim=0), scores)
        shares = scores.softmax(dim=0)
        torch.testing.assert_close(jacobian, shares.diag() - torch.outer(shares, shares))
        norm, most = torch.linalg.matrix_norm(jacobian, 2).item(), (shares * (1 - shares)).max().item()
        assert most * (1 - 1e-9) <= norm <= 2 * most * (1 + 1e-9) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dim": 10, "heads": 4}, "heads must divide dim, got dim=10 and heads=4"),
        ({"kernel": "relu"}, "kernel must be one of 'softmax', 'elu1', 'gaussian', got 'relu'"),
        ({"kernel": "softmax", "normalise": False}, "softmax attention is normalised"),
        ({"kernel": "elu1", "epsilon": -1.0}, "epsilon must be finite and at least 0, got -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words if options.get("kernel") != "relu" else None):
        KernelAttention(**{"dim": 8, "heads": 2, **options})


# In a vision transformer


@pytest.mark.parametrize("kind", KINDS)
def test_a_vit_takes_it_by_name(kind: tuple[Any, bool]) -> None:
    torch.manual_seed(0)
    model = ViT((1, 8, 8), 3, patch=2, dim=8, depth=2, heads=2, attention=kind[0], normalise_attention=kind[1])
    layers = [block.attention for block in model.blocks]
    if kind[0] == "softmax":
        assert all(isinstance(layer, SelfAttention) for layer in layers)
    else:
        assert [(layer.kernel, layer.normalise) for layer in layers] == [kind, kind]
    torch.manual_seed(0)
    plain = ViT((1, 8, 8), 3, patch=2, dim=8, depth=2, heads=2)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    assert model(torch.rand(2, 1, 8, 8)).isfinite().all()


def test_what_a_vit_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="softmax attention is normalised"):
        ViT((1, 8, 8), 3, dim=8, normalise_attention=False)
    with pytest.raises(ValueError, match="your own decides itself"):
        ViT((1, 8, 8), 3, dim=8, attention=SelfAttention, normalise_attention=False)


def config(**model: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "attention",
            "data": {"name": "digits", "train_size": 60},
            "model": {"name": "vit", "patch": 4, "dim": 8, "depth": 1, "heads": 2, **model},
            "objective": {"name": "cross_entropy"},
            "optimizer": {"name": "adamw", "learning_rate": 1e-3},
            "training": {"epochs": 1, "batch_size": 30, "device": "cpu"},
        }
    )


def test_a_configuration_names_it_and_a_run_comes_back_with_it(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    run = train(config(attention="elu1", normalise_attention=False), tmp_path / "run", progress=False)
    layer = load_model(run).blocks[0].attention
    assert isinstance(layer, KernelAttention)
    assert (layer.kernel, layer.normalise) == ("elu1", False)
    assert 'attention = "elu1"' in (tmp_path / "run" / "config.toml").read_text()


def test_a_configuration_with_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ValueError, match=r"attention: Input should be 'softmax', 'elu1' or 'gaussian'.*got 'elu2'"):
        config(attention="elu2")


def test_a_model_built_by_name_takes_it() -> None:
    model = build("vit", input_shape=(1, 8, 8), num_classes=3, dim=8, heads=2, attention="gaussian")
    assert isinstance(model.blocks[0].attention, KernelAttention)


@pytest.mark.parametrize("kind", KINDS)
def test_the_maps_of_a_vit_are_its_weights(kind: tuple[Any, bool]) -> None:
    model = ViT((1, 8, 8), 3, patch=4, dim=8, depth=2, heads=2, attention=kind[0], normalise_attention=kind[1])
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    maps = attention_maps(model, images)
    assert [tuple(each.shape) for each in maps] == [(2, 2, 4, 4)] * 2
    tokens = model.patches(images).flatten(2).transpose(1, 2) + model.positions
    first = model.blocks[0].attention
    same = KernelAttention(8, 2, kind[0], normalise=kind[1])
    same.load_state_dict(first.state_dict())
    torch.testing.assert_close(maps[0], same.attention_weights(model.blocks[0].norm1(tokens)).detach())
