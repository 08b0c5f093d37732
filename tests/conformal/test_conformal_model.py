"""A model with its thresholds in one module: equal to predict_set, exported, moved and saved like any module."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trueline.calibrate import CalibratedModel, TemperatureScaling
from trueline.conformal import APS, LAC, RAPS, SAPS, ClassConditional, ConformalModel, GroupConditional, Margin
from trueline.contracts import ConformalClassifier

METHODS = {
    "lac": lambda: LAC(0.2),
    "never empty": lambda: LAC(0.6, allow_empty=False),
    "margin": lambda: Margin(0.2),
    "aps": lambda: APS(0.2),
    "raps": lambda: RAPS(0.2),
    "saps": lambda: SAPS(0.2),
    "by class": lambda: ClassConditional(APS(0.2)),
}


def _data(samples: int = 200, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(samples, classes, generator=generator)
    return logits.softmax(1).multinomial(1, generator=generator).squeeze(1), logits


def _fitted(name: str) -> ConformalClassifier:
    labels, logits = _data()
    return METHODS[name]().fit(labels, logits=logits)


class _All(nn.Module):
    """Every method at once, since each export costs half a second."""

    def __init__(self) -> None:
        super().__init__()
        self.each = nn.ModuleList([ConformalModel(None, _fitted(name)) for name in METHODS])

    def forward(self, inputs: Tensor, index: Tensor) -> list[Tensor]:
        return [module(inputs, index) for module in self.each]


def test_they_give_what_predict_set_gives_also_when_exported() -> None:
    _, logits = _data()
    index, modules, methods = torch.arange(200) + 7, _All(), [_fitted(name) for name in METHODS]
    expected = [method.predict_set(logits=logits, index=index) for method in methods]
    rows = torch.export.Dim("rows", min=2)
    shapes = {"inputs": {0: rows}, "index": {0: rows}}
    exported = torch.export.export(modules, (logits[:5], index[:5]), dynamic_shapes=shapes, strict=False).module()
    for name, *sets in zip(METHODS, expected, modules(logits, index), exported(logits, index), strict=True):
        assert torch.equal(sets[0], sets[1]), name
        assert torch.equal(sets[0], sets[2]), name
    tied = torch.where(torch.arange(200)[:, None] % 2 == 0, logits.round(), torch.nan)
    for name, *sets in zip(METHODS, modules(tied, index), exported(tied, index), strict=True):
        assert torch.equal(sets[0], sets[1]), name
    for module, method in zip(modules.each, methods, strict=True):
        assert torch.equal(module(logits), method.predict_set(logits=logits))


def test_groups_have_their_thresholds() -> None:
    labels, logits = _data()
    groups = torch.arange(200) % 2
    method = GroupConditional(LAC(0.2)).fit(labels, logits=logits, groups=groups)
    expected = method.predict_set(logits=logits, groups=groups)
    assert torch.equal(ConformalModel(None, method)(logits, None, groups), expected)


def test_it_goes_around_a_calibrated_model() -> None:
    labels, logits = _data()
    scaling = TemperatureScaling().fit(labels, logits=logits)
    method = APS(0.2, randomised=False).fit(labels, logits=scaling.transform(logits=logits))
    model = ConformalModel(CalibratedModel(nn.Identity(), scaling), method)
    assert torch.equal(model(logits), method.predict_set(logits=scaling.transform(logits=logits)))


@pytest.mark.parametrize("shape", [(200,), (200, 1)])
def test_two_classes_may_be_one_number(shape: tuple[int, ...]) -> None:
    labels, logits = _data(classes=2)
    odds = (logits[:, 1] - logits[:, 0]).reshape(shape)
    method = LAC(0.1).fit(labels, logits=odds)
    assert torch.equal(ConformalModel(None, method)(odds), method.predict_set(logits=odds))


class _AllAndOneOutput(_All):
    """And a model with a single output."""

    def __init__(self) -> None:
        super().__init__()
        labels, logits = _data(classes=2)
        self.one = ConformalModel(None, LAC(0.1).fit(labels, logits=logits[:, 1:] - logits[:, :1]))

    def forward(self, inputs: Tensor, index: Tensor) -> list[Tensor]:
        return [*super().forward(inputs, index), self.one(inputs[:, :1])]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the exporter's own
def test_onnx_runs_them(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    module, (_, logits), index, path = _AllAndOneOutput().eval(), _data(40), torch.arange(40) + 7, tmp_path / "it.onnx"
    logits[::4] = logits[::4].round()  # ties
    torch.onnx.export(module, (logits, index), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path)
    found = session.run(None, {"inputs": logits.numpy(), "index": index.numpy()})
    for sets, expected in zip(found, module(logits, index), strict=True):
        assert torch.equal(torch.from_numpy(sets), expected)
        assert 0 < expected.double().mean() < 1


def test_thresholds_move_with_the_module_and_are_a_copy() -> None:
    method = _fitted("by class")
    module = ConformalModel(nn.Linear(4, 4), method)
    assert module.to("meta").conformal.threshold_.device.type == "meta"
    assert method.threshold_.device.type == "cpu"
    assert list(module.state_dict()) == ["model.weight", "model.bias"]


def test_an_unfitted_method_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not fitted"):
        ConformalModel(None, LAC(0.1))
