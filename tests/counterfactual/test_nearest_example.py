"""The nearest real example: found by plain search, only where the head agrees with its label."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from trueline.contracts import check_probe
from trueline.counterfactual._local_support import LocalSupport
from trueline.counterfactual._nearest_example import nearest_example


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def data() -> LocalSupport:
    return LocalSupport(drawn(45, 4), torch.arange(45) % 3, k=5)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3).double()


def test_it_is_the_nearest_example_of_the_class_that_the_head_puts_there_too() -> None:
    support, z, head = data(), drawn(10, 4, seed=1), linear()
    found = nearest_example(head, z, support, radius=0.8)
    predicted = head(support.reference).argmax(dim=1)
    for i in range(10):
        t = head(z[i]).topk(2).indices[1]
        rows = ((support.labels == t) & (predicted == t)).nonzero().flatten()
        away = (support.reference[rows] - z[i]).norm(dim=1)
        assert torch.equal(found.end[i], support.reference[rows[away.argmin()]])
        assert found.distance[i].item() == pytest.approx(away.min().item())
        assert found.success[i] == (away.min() <= 0.8 * support.scale)
    assert found.success.any()
    assert (~found.success).any()
    assert {s for s, ok in zip(found.status, found.success.tolist(), strict=True) if not ok} == {"out of radius"}
    assert (found.steps == 0).all()
    assert (found.end_margin > 0).all()


def test_an_example_of_the_reference_set_does_not_find_itself() -> None:
    support, head = data(), linear()
    z, rows = support.reference, torch.arange(45)
    target = torch.where(head(z).argmax(dim=1) == support.labels, (support.labels + 1) % 3, support.labels)
    found = nearest_example(head, z, support, target, exclude=rows)
    assert (found.distance > 0).all()


def test_where_there_is_no_example_the_start_is_returned() -> None:
    support = LocalSupport(drawn(20, 4), torch.zeros(20, dtype=torch.int64), k=5)
    absent = torch.where(linear()(drawn(3, 4)).argmax(dim=1) == 1, 2, 1)
    found = nearest_example(linear(), drawn(3, 4), support, absent)
    assert torch.equal(found.end, drawn(3, 4))
    assert not found.success.any()
    assert found.nearest_distance.tolist() == [math.inf] * 3


def test_it_keeps_what_probes_promise() -> None:
    check_probe(partial(nearest_example, support=data()), linear(), drawn(5, 4, seed=1))
    with pytest.raises(ValueError, match="radius must be above 0"):
        nearest_example(linear(), drawn(2, 4), data(), radius=0.0)
