from dataclasses import replace

import pytest
import torch
from torch.utils.data import Dataset

import trueline.data
from trueline.data import Examples, Transform, normalisation
from trueline.data._normalisation import CHUNK


def examples(inputs) -> Examples:
    labels = torch.zeros(len(inputs), dtype=torch.int64)
    return Examples(inputs, labels, labels, ("a", "b"), torch.arange(len(inputs)))


def test_bytes_are_measured_in_scaled_units_over_all_chunks(make_examples) -> None:
    large = make_examples(2 * CHUNK + 7, shape=(3, 2, 2))
    values = large.inputs.double() / 255
    mean, std = normalisation(large)
    torch.testing.assert_close(torch.tensor(mean), values.mean(dim=(0, 2, 3)).float())
    torch.testing.assert_close(torch.tensor(std), values.std(dim=(0, 2, 3), correction=0).float())


def test_normalised_inputs_have_mean_0_and_deviation_1(make_examples) -> None:
    data = replace(make_examples(50), value_range=16.0)
    transform = Transform(*normalisation(data))
    draws = transform.draw(50, data.input_shape, generator=torch.Generator())
    values = transform.apply(data.inputs, draws, value_range=16.0)
    torch.testing.assert_close(values.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(dim=(0, 2, 3), correction=0), torch.ones(2))


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e6])
def test_a_constant_channel_has_deviation_1(constant) -> None:
    inputs = torch.stack([torch.full((7,), constant), torch.arange(7.0)], dim=1)
    mean, std = normalisation(examples(inputs))
    assert mean == (pytest.approx(constant), 3.0)
    assert std == (1.0, 2.0)


def test_a_large_offset_does_not_drown_the_spread() -> None:
    inputs = torch.tensor([[1e6 - 0.5], [1e6 + 0.5]])
    assert normalisation(examples(inputs)) == ((1e6,), (0.5,))


def test_one_sample_has_deviation_1_and_none_is_refused() -> None:
    one = examples(torch.tensor([[4.0, 5.0]]))
    assert normalisation(one) == ((4.0, 5.0), (1.0, 1.0))
    with pytest.raises(ValueError, match="normalisation needs at least one sample, got none"):
        normalisation(one.select(torch.tensor([], dtype=torch.int64)))


def test_a_lazy_set_is_measured_on_evenly_spaced_samples(make_examples, monkeypatch) -> None:
    class Lazy(Dataset):
        def __init__(self, inputs):
            self.inputs, self.read = inputs, []

        def __len__(self):
            return len(self.inputs)

        def __getitem__(self, position):
            self.read.append(position)
            return self.inputs[position]

    data = make_examples(23)
    lazy = Lazy(data.inputs)
    assert normalisation(replace(data, inputs=lazy)) == normalisation(data)
    monkeypatch.setattr(trueline.data._normalisation, "MEASURED_SAMPLES", 8)
    lazy.read.clear()
    assert normalisation(replace(data, inputs=lazy)) == normalisation(data.select(torch.arange(0, 23, 3)))
    assert set(lazy.read) == set(range(0, 23, 3))


def test_a_fifth_of_cifar10_has_nearly_the_published_values(cifar10_shard) -> None:
    mean, std = normalisation(cifar10_shard.train)
    assert mean == pytest.approx((0.49140, 0.48216, 0.44653), abs=5e-3)
    assert std == pytest.approx((0.24703, 0.24349, 0.26159), abs=5e-3)
