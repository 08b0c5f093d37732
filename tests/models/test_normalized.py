"""A normalisation inside the model: the same numbers as outside, and buffers that nobody trains."""

import io
from typing import Any

import pytest
import torch
from torch import nn

from trueline.models import Normalized, resnet8


def test_it_is_the_model_on_normalised_inputs(generator: torch.Generator) -> None:
    model = resnet8((3, 8, 8), 4, width=4).eval()
    images = torch.rand(5, 3, 8, 8, generator=generator)
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    by_hand = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    wrapped = Normalized(model, mean, std).eval()
    assert wrapped.model is model
    torch.testing.assert_close(wrapped(images), model(by_hand))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6), (0, 3, 4, 5)])
def test_channels_are_axis_one_of_any_shape(shape: tuple[int, ...]) -> None:
    ones = torch.ones(shape)
    out = Normalized(nn.Identity(), (0.0, 1.0, 3.0), (1.0, 1.0, 2.0))(ones)
    for channel, value in enumerate((1.0, 0.0, -1.0)):
        assert torch.equal(out[:, channel], torch.full_like(ones[:, channel], value))
    assert torch.equal(Normalized(nn.Identity(), [0.5], [0.25])(ones), torch.full(shape, 2.0))


def test_mean_and_deviation_are_buffers_that_are_saved_moved_and_not_trained() -> None:
    wrapped = Normalized(nn.Linear(2, 2), (0.25, 0.5), (0.5, 0.75))
    assert [name for name, _ in wrapped.named_parameters()] == ["model.weight", "model.bias"]
    assert wrapped.double().mean.dtype == torch.float64
    file = io.BytesIO()
    torch.save(wrapped.state_dict(), file)
    file.seek(0)
    other = Normalized(nn.Linear(2, 2), (0.0, 0.0), (1.0, 1.0)).double()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.mean, wrapped.mean)
    assert torch.equal(other.std, wrapped.std)


def test_the_callers_tensors_are_not_shared() -> None:
    mean = torch.tensor([0.5])
    wrapped = Normalized(nn.Identity(), mean, torch.tensor([1.0]))
    mean.zero_()
    assert wrapped.mean.item() == 0.5


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), (0.1, 0.2), "got 1 and 2"),
        ((), (), "got 0 and 0"),
        ((0.5,), (0.0,), "above 0"),
        ((0.5,), (-1.0,), "above 0"),
        ((float("nan"),), (1.0,), "finite"),
        ((0.5,), (float("inf"),), "finite"),
    ],
)
def test_impossible_values_are_refused(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Normalized(nn.Identity(), mean, std)


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 2)])
def test_a_wrong_number_of_channels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"inputs must have shape \(B, 3, ...\)"):
        Normalized(nn.Identity(), (0.0,) * 3, (1.0,) * 3)(torch.zeros(shape))
