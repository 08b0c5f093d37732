"""A model with its calibrator in one module: equal to transform, exported, moved and saved like any module."""

from pathlib import Path

import pytest
import torch
from torch import nn

from trueline.calibrate import CalibratedModel, TemperatureScaling, VectorScaling


def _fitted(classes: int = 3) -> VectorScaling:
    slope, intercept = [0.5, 1.5, 1.0][:classes], [0.0, 0.3, -0.2][:classes]
    return VectorScaling().load_state({"num_classes_": classes, "slope_": slope, "intercept_": intercept})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_gives_what_transform_gives(generator: torch.Generator, dtype: torch.dtype) -> None:
    model, inputs = nn.Linear(5, 3, dtype=dtype), torch.randn(7, 5, generator=generator, dtype=dtype)
    log_probs = CalibratedModel(model, _fitted())(inputs)
    assert log_probs.dtype == dtype
    assert torch.equal(log_probs, _fitted().transform(logits=model(inputs)))
    assert torch.equal(CalibratedModel(None, _fitted())(model(inputs)), log_probs)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_two_classes_may_be_one_number(shape: tuple[int, ...]) -> None:
    odds = torch.linspace(-3, 3, 4).reshape(shape)
    expected = _fitted(2).transform(logits=odds)
    assert torch.equal(CalibratedModel(None, _fitted(2))(odds), expected)


def test_gradients_reach_the_model() -> None:
    model = nn.Linear(5, 3)
    CalibratedModel(model, _fitted())(torch.ones(2, 5))[:, 0].sum().backward()
    assert model.weight.grad.abs().sum() > 0


def test_it_exports_with_any_batch_size(generator: torch.Generator) -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    module, inputs = CalibratedModel(model, _fitted()), torch.randn(7, 5, generator=generator)
    rows = torch.export.Dim("rows", min=2)
    exported = torch.export.export(module, (inputs[:4],), dynamic_shapes=((({0: rows}),),)).module()
    assert torch.allclose(exported(inputs), module(inputs))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the exporter's own
def test_onnx_runs_it(generator: torch.Generator, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    module, inputs = CalibratedModel(nn.Linear(5, 3), _fitted()).eval(), torch.randn(4, 5, generator=generator)
    path = tmp_path / "model.onnx"
    torch.onnx.export(module, (inputs,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    assert torch.allclose(torch.from_numpy(found), module(inputs), atol=1e-6)


def test_the_map_moves_with_the_module_and_stays_in_double_precision() -> None:
    module = CalibratedModel(nn.Linear(5, 3), _fitted()).half()
    assert module.calibrator.slope_.dtype == torch.float64
    assert module.to("meta").calibrator.slope_.device.type == "meta"


def test_the_calibrator_is_a_copy_and_the_state_is_the_models() -> None:
    calibrator = _fitted()
    module = CalibratedModel(nn.Linear(5, 3), calibrator)
    calibrator.slope_ += 9.0
    assert module.calibrator.slope_.tolist() == [0.5, 1.5, 1.0]
    assert list(module.state_dict()) == ["model.weight", "model.bias"]


def test_an_unfitted_calibrator_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        CalibratedModel(None, TemperatureScaling())
