"""The gradient inequality: that it holds, where it is an equality, where it is not stated, and against a plain loop."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.contracts import check_probe
from trueline.models import MLP, ConvNet, Normalized, ViT, resnet8
from trueline.probe._gradient_inequality import gradient_inequality


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def chosen(samples: int, classes: int) -> torch.Tensor:
    return torch.arange(samples) % classes


def in_a_loop(model: nn.Module, x: torch.Tensor, label: int) -> tuple[list[float], list[float]]:
    """Squared gradients of one sample in the input, the first parameter and all, for the loss and the logits."""
    row = x[None].clone().requires_grad_()
    outputs = model(row)
    values = [F.cross_entropy(outputs, torch.tensor([label])), *outputs[0]]
    tables = []
    for value in values:
        grads = torch.autograd.grad(value, [row, *model.parameters()], retain_graph=True)
        squares = [grad.square().sum().item() for grad in grads]
        tables.append([squares[0], squares[1], sum(squares[1:])])
    return tables[0], [sum(column) for column in zip(*tables[1:], strict=True)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_holds_for_random_networks_with_a_dense_first_layer(seed: int, batch_norm: bool) -> None:
    torch.manual_seed(seed)
    model = MLP((2, 3), 4, hidden=(9, 8), batch_norm=batch_norm).double().eval()
    record = gradient_inequality(model, drawn(10, 2, 3, seed=seed), chosen(10, 4))
    for what in ("loss", "logits"):
        lower, first, whole = (getattr(record, f"{what}_{side}") for side in ("lower", "first", "all"))
        assert (lower <= first * (1 + 1e-9)).all()
        assert (first < whole).all()
        assert (lower > 0).all()
    assert record.scope == "dense"
    assert record.layer == "body.linear1.weight"


def test_both_sides_are_those_of_a_plain_loop() -> None:
    torch.manual_seed(0)
    model = MLP((6,), 4, hidden=(9,)).double()
    x, labels = drawn(5, 6), chosen(5, 4)
    record = gradient_inequality(model, x, labels)
    norm = torch.linalg.matrix_norm(model.body.linear1.weight, 2).item()
    assert record.norm == pytest.approx(norm)
    for sample in range(5):
        for what, (slope, first, whole) in zip(
            ("loss", "logits"), in_a_loop(model, x[sample], int(labels[sample])), strict=True
        ):
            found = [getattr(record, f"{what}_{side}")[sample].item() for side in ("lower", "first", "all")]
            assert found == pytest.approx([x[sample].square().sum().item() / norm**2 * slope, first, whole], rel=1e-9)


def test_a_first_layer_that_turns_the_input_makes_it_an_equality() -> None:
    """``‖W₁ᵀδ‖ = ‖W₁‖·‖δ‖`` where W₁ᵀ keeps lengths; without biases and further layers nothing is left over."""
    turn = nn.Linear(5, 5, bias=False).double()
    turn.weight.data = 3 * torch.linalg.qr(drawn(5, 5)).Q
    record = gradient_inequality(turn, drawn(7, 5, seed=1), chosen(7, 5))
    for what in ("loss", "logits"):
        torch.testing.assert_close(getattr(record, f"{what}_lower"), getattr(record, f"{what}_first"))
        torch.testing.assert_close(getattr(record, f"{what}_first"), getattr(record, f"{what}_all"))


def test_the_product_with_one_row_has_its_bias_beside_it() -> None:
    """Log-odds ``w·x + b``: ``‖∇_W‖² = ‖x‖²`` is both sides, and ``1 + ‖x‖²`` all parameters."""
    x = drawn(6, 4)
    record = gradient_inequality(nn.Linear(4, 1).double(), x, chosen(6, 2))
    torch.testing.assert_close(record.logits_lower, x.square().sum(dim=1))
    torch.testing.assert_close(record.logits_first, x.square().sum(dim=1))
    torch.testing.assert_close(record.logits_all, 1 + x.square().sum(dim=1))


@pytest.mark.parametrize("seed", range(4))
def test_it_holds_for_convolutions_whose_positions_have_weights_of_their_own(seed: int) -> None:
    torch.manual_seed(seed)
    for conv in (nn.Conv2d(2, 4, 3), nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.Conv2d(2, 4, 2, groups=2, dilation=2)):
        model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).double()
        x = drawn(8, 2, 6, 6, seed=seed)
        model(x)
        record = gradient_inequality(model, x, chosen(8, 3))
        for what in ("loss", "logits"):
            lower, first, whole = (getattr(record, f"{what}_{side}") for side in ("lower", "first", "all"))
            assert (lower <= first).all()
            assert (first <= whole).all()
        assert record.scope == "unshared convolution"
        assert "with shared weights the inequality is false" in str(record)


def test_the_unshared_gradient_of_a_convolution_is_that_of_its_patches() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 4, 3, padding=1, stride=2, groups=2, bias=False).double()
    model = nn.Sequential(conv, nn.Tanh(), nn.Flatten(), nn.Linear(36, 1)).double()
    x = drawn(3, 2, 6, 6)
    record = gradient_inequality(model, x, chosen(3, 2))
    patches = F.unfold(x, 3, padding=1, stride=2).view(3, 2, 9, 9)  # sample, group, place in the patch, position
    inside = conv(x).detach().requires_grad_()
    (delta,) = torch.autograd.grad(model[1:](inside).sum(), inside)
    expected = torch.zeros(3, dtype=torch.float64)
    for output in range(4):
        for position in range(9):
            gradient = delta.flatten(2)[:, output, position, None] * patches[:, output // 2, :, position]
            expected += gradient.square().sum(dim=1)
    torch.testing.assert_close(record.logits_first, expected)
    assert (record.logits_all > record.logits_first).all()
    # A network of one patch is a dense layer.
    whole = nn.Sequential(nn.Conv2d(2, 5, 6), nn.Flatten()).double()
    dense = nn.Sequential(nn.Flatten(), nn.Linear(72, 5)).double()
    dense[1].weight.data, dense[1].bias.data = whole[0].weight.data.flatten(1), whole[0].bias.data
    for name in ("loss_lower", "logits_first", "logits_all"):
        mine, theirs = (getattr(gradient_inequality(net, x, chosen(3, 5)), name) for net in (whole, dense))
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=0)


def test_the_probe_keeps_its_promises() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(9, 3))
    check_probe(gradient_inequality, model.double(), drawn(5, 6), chosen(5, 3))
    check_probe(gradient_inequality, ConvNet((1, 8, 8), 3, width=2).double(), drawn(4, 1, 8, 8), chosen(4, 3))
    assert (
        gradient_inequality(resnet8((3, 8, 8), 4, width=4), torch.rand(2, 3, 8, 8), chosen(2, 4)).layer
        == "conv1.weight"
    )


class Beside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) + x.square()


class Twice(Beside):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.first(x))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Beside(), "reaches the output beside the first layer 'first.weight'"),
        (Twice(), "'first.weight' is used twice"),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), "must be a linear layer or a convolution, got batch_norm"),
        (nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), "must see the input itself"),
        (Normalized(nn.Linear(4, 2), (0.5,), (0.2,)), "must see the input itself"),
        (nn.Softmax(dim=1), "no operation with parameters"),
    ],
)
def test_where_it_is_not_stated_it_is_refused(model: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gradient_inequality(model, torch.rand(3, 4) - 0.5, chosen(3, 2))


def test_a_transformer_begins_with_a_convolution_of_patches() -> None:
    model = ViT((1, 8, 8), 3, patch=4, dim=8, depth=1, heads=2).double()
    call: Any = partial(gradient_inequality, model, drawn(2, 1, 8, 8), chosen(2, 3))
    record = call()
    assert (record.loss_lower <= record.loss_first).all()


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\]"):
        gradient_inequality(nn.Linear(4, 2), torch.zeros(2, 4), torch.tensor([0, 2]))
    with pytest.raises(TypeError):
        gradient_inequality(nn.Linear(4, 2), torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 1]))
