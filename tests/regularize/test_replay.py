"""A replayed pass: the same draws and buffers, and no trace."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from trueline.regularize._replay import Replay


def test_a_replayed_pass_gives_the_same_and_is_forgotten(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(spectral_norm(nn.Linear(4, 6)), nn.BatchNorm1d(6), nn.Dropout(0.5))
    x = torch.randn(8, 4, generator=generator)
    alone = copy.deepcopy(model)
    drawn = torch.get_rng_state()
    alone(x)
    expected = {name: buffer.clone() for name, buffer in alone.named_buffers()}
    torch.set_rng_state(drawn)
    replay = Replay(model)
    first = model(x)
    after = torch.get_rng_state()
    with replay.again():
        second = model(x)
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), after)
    assert all(torch.equal(buffer, expected[name]) for name, buffer in model.named_buffers())
    first.sum().backward()  # the graph of the first pass is intact


def test_all_sources_of_chance_are_replayed() -> None:
    replay = Replay(nn.Linear(1, 1))

    def draw() -> tuple[float, ...]:
        return torch.rand(()).item(), np.random.random(), random.random()  # noqa: NPY002

    first = draw()
    with replay.again():
        assert draw() == first
        draw()
    assert draw() != first


def test_shared_and_new_and_missing_buffers() -> None:
    model = nn.Sequential(nn.Identity(), nn.Identity())
    shared = torch.zeros(2)
    for module in model:
        module.register_buffer("shared", shared)
    model.register_buffer("none", None)
    replay = Replay(model)
    model[0].shared.add_(1)
    model.none = torch.ones(1)

    def second_pass() -> None:
        with replay.again():
            assert model.none is None
            model[0].shared.add_(5)
            assert model[1].shared.tolist() == [5, 5]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        second_pass()
    assert model[0].shared is shared
    assert model[1].shared is shared
    assert shared.tolist() == [1, 1]
    assert model.none.tolist() == [1]
