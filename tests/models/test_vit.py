import math

import pytest
import torch
from torch import Tensor, nn

from trueline.models import SelfAttention, ViT


def attention_by_hand(layer: SelfAttention, tokens: Tensor) -> Tensor:
    dim = tokens.shape[-1]
    size = dim // layer.heads
    query, key, value = (tokens @ layer.qkv.weight.T + layer.qkv.bias).split(dim, dim=-1)
    out = torch.empty_like(tokens)
    for image in range(len(tokens)):
        for head in range(layer.heads):
            own = slice(head * size, (head + 1) * size)
            scores = query[image, :, own] @ key[image, :, own].T / math.sqrt(size)
            out[image, :, own] = scores.softmax(dim=-1) @ value[image, :, own]
    return out @ layer.out.weight.T + layer.out.bias


@pytest.mark.parametrize("heads", [1, 2, 6])
def test_attention_equals_its_slow_twin(heads: int, generator: torch.Generator) -> None:
    layer = SelfAttention(dim=12, heads=heads).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    tokens = torch.randn(2, 5, 12, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(layer(tokens), attention_by_hand(layer, tokens))


def test_attention_of_one_token_is_its_projected_value(generator: torch.Generator) -> None:
    layer = SelfAttention(dim=8, heads=4)
    token = torch.randn(3, 1, 8, generator=generator)
    torch.testing.assert_close(layer(token), layer.out(layer.qkv(token)[..., 16:]))


def test_heads_that_do_not_divide_the_features_are_refused() -> None:
    with pytest.raises(ValueError, match="heads must divide dim, got dim=10 and heads=4"):
        ViT((3, 8, 8), 10, dim=10)
    with pytest.raises(ValueError, match="heads must divide dim, got dim=8 and heads=0"):
        SelfAttention(8, 0)


def test_patches_in_another_order_give_the_same_logits_without_positions(generator: torch.Generator) -> None:
    model = ViT((3, 12, 8), num_classes=5, patch=4, dim=16, depth=2).double().eval()
    images = torch.randn(2, 3, 12, 8, generator=generator, dtype=torch.float64)
    patches = images.unflatten(2, (3, 4)).unflatten(4, (2, 4)).permute(2, 4, 0, 1, 3, 5).flatten(0, 1)
    shuffled = patches[torch.randperm(6, generator=generator)].unflatten(0, (3, 2))
    shuffled = shuffled.permute(2, 3, 0, 4, 1, 5).flatten(4, 5).flatten(2, 3)
    assert not torch.allclose(shuffled, images)
    assert not torch.allclose(model(shuffled), model(images))
    nn.init.zeros_(model.positions)
    torch.testing.assert_close(model(shuffled), model(images))


def test_each_patch_has_one_position() -> None:
    assert ViT((1, 8, 12), num_classes=2, patch=2, dim=8).positions.shape == (1, 24, 8)


def test_the_blocks_equal_those_of_pytorch(generator: torch.Generator) -> None:
    model = ViT((3, 8, 12), num_classes=5, dim=12, depth=2, heads=3).double()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    images = torch.randn(2, 3, 8, 12, generator=generator, dtype=torch.float64)
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(2, 6, -1)
    tokens = patches @ model.patches.weight.flatten(1).T + model.patches.bias + model.positions
    for block in model.blocks:
        peer = nn.TransformerEncoderLayer(
            12, 3, dim_feedforward=24, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        names = {"attention.qkv": "self_attn.in_proj", "attention.out": "self_attn.out_proj"}
        names |= {"mlp.0": "linear1", "mlp.2": "linear2", "norm1": "norm1", "norm2": "norm2"}
        state = {}
        for key, value in block.state_dict().items():
            name, kind = key.rsplit(".", 1)
            state[f"{names[name]}{'_' if name == 'attention.qkv' else '.'}{kind}"] = value
        peer.double().load_state_dict(state)
        tokens = peer(tokens)
    torch.testing.assert_close(model.features(images), model.norm(tokens).mean(dim=1))


@pytest.mark.parametrize(("patch", "dim", "depth"), [(4, 16, 1), (2, 8, 3)])
def test_the_number_of_parameters_is_the_closed_form(patch: int, dim: int, depth: int) -> None:
    model = ViT((3, 8, 8), num_classes=5, patch=patch, dim=dim, depth=depth, mlp_ratio=3)
    embedding = (3 * patch**2 + 1) * dim + (8 // patch) ** 2 * dim
    block = 2 * 2 * dim + 4 * (dim + 1) * dim + (dim + 1) * 3 * dim + (3 * dim + 1) * dim
    expected = embedding + depth * block + 2 * dim + (dim + 1) * 5
    assert sum(p.numel() for p in model.parameters()) == expected


def test_another_attention_takes_the_place_of_the_default(generator: torch.Generator) -> None:
    asked = []

    def mean_attention(dim: int, heads: int) -> nn.Module:
        asked.append((dim, heads))
        return Mean()

    model = ViT((3, 8, 8), num_classes=5, dim=16, depth=3, heads=2, attention=mean_attention)
    assert asked == [(16, 2)] * 3
    assert not any(isinstance(m, SelfAttention) for m in model.modules())
    assert model(torch.randn(2, 3, 8, 8, generator=generator)).isfinite().all()


class Mean(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(dim=1, keepdim=True).expand_as(tokens)


def test_dropout_acts_in_training_alone(generator: torch.Generator) -> None:
    model = ViT((3, 8, 8), num_classes=5, dim=16, depth=1, dropout=0.5)
    images = torch.randn(2, 3, 8, 8, generator=generator)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((3, 30, 32), {}, "patch must divide the image's sides, got patch=4 for 30x32"),
        ((3, 32, 32), {"patch": 0}, "got patch=0 for 32x32"),
        ((3, 32, 32), {"depth": 0}, "depth must be at least 1, got 0"),
        ((3, 32, 32), {"mlp_ratio": 0.0}, "hidden unit, got 0.0 for dim=128"),
        ((3, 32, 32), {"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int, ...], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViT(shape, 10, **options)


def test_inputs_of_another_size_are_refused() -> None:
    """With one position the sum with any number of patches would broadcast in silence."""
    model = ViT((3, 4, 4), num_classes=5, dim=16)
    with pytest.raises(ValueError, match=r"inputs of shape \(3, 4, 4\), got \(3, 8, 8\)"):
        model(torch.zeros(1, 3, 8, 8))
