"""The curvature inequality: that it holds, where it is an equality, where it is refused, and against whole matrices."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import check_probe
from trueline.models import MLP, Normalized, ViT
from trueline.probe import normalised_curvature
from trueline.probe._curvature_inequality import curvature_inequality


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def chosen(samples: int, classes: int) -> Tensor:
    return torch.arange(samples) % classes


def smooth(*sizes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Linear(sizes[0], sizes[1]), nn.Softplus(beta=4), nn.Linear(sizes[1], sizes[2])]
    return nn.Sequential(*layers).double()


def spectral_norm_of_the_hessian(function: object, at: Tensor) -> float:
    hessian = torch.autograd.functional.hessian(function, at)  # type: ignore[arg-type]
    return torch.linalg.matrix_norm(hessian.reshape(at.numel(), at.numel()), 2).item()


@pytest.mark.parametrize("of", ["loss", "logit"])
def test_both_sides_are_those_of_the_whole_matrices(of: str) -> None:
    model, x, labels = smooth(5, 7, 3), drawn(4, 5), chosen(4, 3)
    record = curvature_inequality(model, x, labels, of=of, iterations=60)  # type: ignore[arg-type]
    assert record.norm == pytest.approx(torch.linalg.matrix_norm(model[0].weight, 2).item())

    def value(logits: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(logits, label[None]) if of == "loss" else logits[0, label]

    for sample in range(4):
        row, label = x[sample], labels[sample]
        own = spectral_norm_of_the_hessian(lambda r, c=label: value(model(r[None]), c), row)
        weight = spectral_norm_of_the_hessian(
            lambda w, r=row, c=label: value(model[1:](F.linear(r[None], w, model[0].bias)), c),
            model[0].weight.detach(),
        )
        assert record.input_norm[sample].item() == pytest.approx(own, rel=1e-5)
        assert record.first[sample].item() == pytest.approx(weight, rel=1e-5)
        assert record.lower[sample].item() == pytest.approx(row.square().sum().item() / record.norm**2 * own, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_it_holds_for_random_networks(seed: int) -> None:
    record = curvature_inequality(smooth(6, 9, 4, seed=seed), drawn(10, 6, seed=seed), chosen(10, 4))
    assert (record.lower <= record.first * (1 + 1e-6)).all()
    assert (record.lower > 0).all()
    assert record.converged.all()
    assert (record.layer, record.scope) == ("0.weight", "dense")


def test_a_first_layer_that_turns_the_input_makes_it_an_equality() -> None:
    """``‖W₁ᵀMW₁‖ = ‖W₁‖²‖M‖`` where W₁ is a multiple of a rotation."""
    model = smooth(5, 5, 3)
    model[0].weight.data = 3 * torch.linalg.qr(drawn(5, 5)).Q
    record = curvature_inequality(model, drawn(6, 5, seed=1), chosen(6, 3))
    torch.testing.assert_close(record.lower, record.first, rtol=1e-5, atol=0)


def test_the_inputs_side_is_what_the_normalised_curvature_divides() -> None:
    model, x, labels = smooth(6, 9, 4), drawn(5, 6), chosen(5, 4)
    peer = normalised_curvature(model, x, labels, iterations=40)
    found = curvature_inequality(model, x, labels, iterations=40)
    torch.testing.assert_close(found.input_norm, peer.hessian_norm, rtol=1e-5, atol=0)


def test_the_logits_of_relu_are_flat_on_both_sides() -> None:
    record = curvature_inequality(MLP((6,), 3, hidden=(8,)).double(), drawn(4, 6), of="logit")
    assert (record.first == 0).all()
    assert (record.lower == 0).all()
    assert "4 with a Hessian of exactly zero" in str(record)


@pytest.mark.parametrize(
    "conv",
    [nn.Conv2d(2, 4, 3), nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.Conv2d(2, 4, 2, groups=2, dilation=2)],
)
def test_it_holds_for_convolutions_whose_positions_have_weights_of_their_own(conv: nn.Conv2d) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(conv, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).double()
    x = drawn(5, 2, 6, 6)
    model(x)
    record = curvature_inequality(model, x, chosen(5, 3), iterations=60)
    assert record.scope == "unshared convolution"
    assert (record.lower <= record.first).all()
    assert (record.lower > 0).all()
    assert "weight of its own" in str(record)


def test_the_unshared_curvature_of_a_convolution_is_that_of_its_patches() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 2, 2, stride=2, bias=False).double()
    model = nn.Sequential(conv, nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()
    x, labels = drawn(3, 1, 4, 4), chosen(3, 3)
    record = curvature_inequality(model, x, labels, iterations=60)
    patches = F.unfold(x, 2, stride=2)  # (3, 4 entries, 4 positions)
    for sample in range(3):

        def unshared(weight: Tensor, sample: int = sample) -> Tensor:
            out = torch.einsum("cpk,kp->cp", weight, patches[sample])
            return F.cross_entropy(model[1:](out.view(1, 2, 2, 2)), labels[sample][None])

        weight = conv.weight.detach().view(2, 1, 4).expand(2, 4, 4).clone()
        expected = spectral_norm_of_the_hessian(unshared, weight)
        assert record.first[sample].item() == pytest.approx(expected, rel=1e-5)


def test_the_probe_keeps_its_promises() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Dropout(), nn.Linear(9, 3)).double()
    check_probe(curvature_inequality, model, drawn(5, 6), chosen(5, 3))
    check_probe(partial(curvature_inequality, of="logit", iterations=5), model, drawn(5, 6), chosen(5, 3))


def test_a_transformer_begins_with_a_convolution_of_patches() -> None:
    model = ViT((1, 8, 8), 3, patch=4, dim=8, depth=1, heads=2).double()
    record = curvature_inequality(model, drawn(2, 1, 8, 8), chosen(2, 3), iterations=40)
    assert (record.lower <= record.first).all()


def test_too_few_iterations_are_told() -> None:
    record = curvature_inequality(smooth(6, 9, 4), drawn(4, 6), chosen(4, 4), iterations=1)
    assert not record.converged.any()
    assert "4 not converged" in str(record)


class Beside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + x.square()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Beside(), "reaches the output beside the first layer 'first.weight'"),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), "must be a linear layer or a convolution, got batch_norm"),
        (Normalized(nn.Linear(4, 2), (0.5,), (0.2,)), "must see the input itself"),
        (nn.Softmax(dim=1), "no operation with parameters"),
    ],
)
def test_where_it_is_not_stated_it_is_refused(model: nn.Module, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        curvature_inequality(model, torch.rand(3, 4) - 0.5, chosen(3, 2))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        curvature_inequality(nn.Linear(4, 2), torch.zeros(2, 4), iterations=0)
    with pytest.raises((ValueError, TypeError)):
        curvature_inequality(nn.Linear(4, 2), torch.zeros(2, 4), of="margin")  # type: ignore[arg-type]
