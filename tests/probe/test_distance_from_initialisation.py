"""Distances from the start: closed forms, layers, parameters that begin at zero, and what is refused."""

import json
import math

import pytest
import torch
from torch import nn

from trueline.models import MLP
from trueline.probe._distance_from_initialisation import distance_from_initialisation


def pair() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    initial, model = (MLP((6,), 3, hidden=(5, 4)).double() for _ in range(2))
    for layer in (initial.body.linear1, initial.body.linear2, initial.classifier):
        nn.init.zeros_(layer.bias)
    return model, initial


def test_a_network_is_nowhere_from_itself() -> None:
    model, _ = pair()
    record = distance_from_initialisation(model, model)
    assert record.distance == 0
    assert record.relative == 0
    assert not record.distances.any()


def test_a_stretched_network_is_its_own_norm_times_the_stretch_away() -> None:
    _, initial = pair()
    model = MLP((6,), 3, hidden=(5, 4)).double()
    model.load_state_dict({name: 3 * value for name, value in initial.state_dict().items()})
    record = distance_from_initialisation(model, initial)
    assert record.relative == pytest.approx(2)
    for part in (*record.parameters, *record.layers):
        if part.name.endswith("bias"):
            assert (part.distance, part.relative, part.relative_largest) == (0, None, None)
        else:
            assert part.relative == pytest.approx(2)
            assert part.relative_largest == pytest.approx(2)
            assert part.initial_spectral is None or part.spectral_change == pytest.approx(2 * part.initial_spectral)


def test_norms_are_those_of_the_matrices_and_add_up_in_squares() -> None:
    model, initial = pair()
    record = distance_from_initialisation(model, initial.state_dict())
    named = {part.name: part for part in record.parameters}
    assert list(named) == [name for name, _ in model.named_parameters()]
    change = (model.classifier.weight - initial.classifier.weight).detach()
    found = named["classifier.weight"]
    assert found.distance == pytest.approx(torch.linalg.matrix_norm(change).item())
    assert found.relative == pytest.approx(found.distance / initial.classifier.weight.norm().item())
    assert found.largest_change == change.abs().max().item()
    assert found.spectral_change == pytest.approx(torch.linalg.matrix_norm(change, 2).item())
    assert record.distance == pytest.approx(math.hypot(*record.distances.tolist()))
    assert math.hypot(*(layer.distance for layer in record.layers)) == pytest.approx(record.distance)
    assert [layer.name for layer in record.layers] == ["body.linear1", "body.linear2", "classifier"]


def test_the_product_of_norms_is_held_by_start_and_distance() -> None:
    model, initial = pair()
    record = distance_from_initialisation(model, initial)
    matrices = [part for part in record.parameters if part.initial_spectral is not None]
    product = math.prod(torch.linalg.matrix_norm(p, 2).item() for p in model.parameters() if p.ndim == 2)
    assert len(matrices) == 3
    assert product <= math.prod(part.initial_spectral + part.spectral_change for part in matrices)


def test_what_begins_at_zero_has_no_relative_distance_and_no_nan() -> None:
    model, initial = pair()
    record = distance_from_initialisation(model, initial)
    biases = [part for part in record.parameters if part.name.endswith("bias")]
    assert all(part.relative is None for part in biases)
    assert "3 of 6 parameters began at zero" in str(record)
    zero, one = nn.Linear(2, 1), nn.Linear(2, 1)
    for tensor, value in ((zero.weight, 0), (zero.bias, 0), (one.weight, 1), (one.bias, 1)):
        nn.init.constant_(tensor, value)
    record = distance_from_initialisation(one, zero)
    assert record.relative is None
    assert record.distance == pytest.approx(math.sqrt(3))
    json.dumps(record.to_dict(), allow_nan=False)


def test_convolutions_statistics_and_shared_parameters() -> None:
    model, initial = (nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)) for _ in range(2))
    model[1].running_mean.fill_(9)
    record = distance_from_initialisation(model, initial)
    assert [part.name for part in record.parameters] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert record.parameters[0].initial_spectral is None
    assert record.layers[1].distance == 0


def test_the_record_becomes_json_and_a_chart() -> None:
    record = distance_from_initialisation(*pair())
    assert json.loads(json.dumps(record.to_dict()))["parameters"][0]["name"] == "body.linear1.weight"
    pytest.importorskip("altair")
    assert len(record.plot().to_dict()["data"]["values"]) == 3


def test_what_does_not_fit_is_refused() -> None:
    model, initial = pair()
    state = initial.state_dict()
    with pytest.raises(ValueError, match=r"no parameter 'classifier.bias'"):
        distance_from_initialisation(model, {name: v for name, v in state.items() if name != "classifier.bias"})
    with pytest.raises(ValueError, match=r"has shape \(3,\), but \(2,\) in initial"):
        distance_from_initialisation(model, state | {"classifier.bias": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"'classifier.bias' is not finite in initial"):
        distance_from_initialisation(model, state | {"classifier.bias": torch.full((3,), math.nan)})
    with pytest.raises(ValueError, match="no parameters"):
        distance_from_initialisation(nn.ReLU(), {})
    with pytest.raises(TypeError):
        distance_from_initialisation("model", initial)
    with pytest.raises(TypeError):
        distance_from_initialisation(model, [torch.zeros(2)])
