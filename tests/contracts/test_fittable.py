"""What fittable objects share: options, copies, states, files and devices."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import trueline
from trueline.calibrate import CausalIsotonic, LeastSquares, LevelSetBoosting, TemperatureScaling, VectorScaling
from trueline.contracts import Fittable, load


class _Learner(Fittable):
    number_: float
    count_: int
    table_: dict[str, Any]
    index_: torch.Tensor
    mask_: torch.Tensor
    inner_: TemperatureScaling
    limits_: torch.Tensor

    def __init__(self, rate=0.5, names=("a", "b"), inner=None, start=None):
        self.rate, self.names, self.inner, self.start = rate, names, inner, start

    def fit(self):
        self.number_ = 1 / 3
        self.count_ = 7
        self.table_ = {"x": torch.tensor([[0.1, 2.0]], dtype=torch.float64), "rows": [{"name": "a", "loss": None}]}
        self.index_ = torch.tensor([3, 1])
        self.mask_ = torch.tensor([True, False])
        self.inner_ = TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 1.7})
        self.limits_ = torch.tensor([0.5, math.inf], dtype=torch.float64)
        return self


def _same(first: object, second: object) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[key], second[key]) for key in first)
    if isinstance(first, Fittable):
        return type(first) is type(second) and all(
            _same(getattr(first, name), getattr(second, name)) for name in {*vars(first), *vars(second)}
        )
    return type(first) is type(second) and first == second


def test_options_are_the_arguments_of_the_constructor() -> None:
    learner = _Learner(names=("c",)).fit()
    assert learner.options() == {"rate": 0.5, "names": ("c",), "inner": None, "start": None}
    assert repr(learner) == "_Learner(rate=0.5, names=('c',), inner=None, start=None)"
    assert repr(TemperatureScaling()) == "TemperatureScaling()"


def test_text_shows_the_learned_numbers_beside_the_call() -> None:
    scaling = TemperatureScaling()
    assert str(scaling) == "TemperatureScaling()"
    scaling.fit(torch.tensor([0, 0, 1, 1]), logits=torch.tensor([[4.0, 0], [4, 0], [4, 0], [0, 4]]))
    assert str(scaling) == f"TemperatureScaling(), num_classes_=2, temperature_={scaling.temperature_:.4g}"
    assert repr(scaling) == "TemperatureScaling()"


def test_an_unfitted_copy_keeps_options_and_forgets_the_rest_down_to_inner_objects() -> None:
    inner = TemperatureScaling().load_state({"num_classes_": 2, "temperature_": 1.7})
    copy = _Learner(rate=2.0, inner=inner).fit().unfitted()
    assert copy.rate == 2.0
    assert not any(name.endswith("_") for name in vars(copy))
    with pytest.raises(RuntimeError, match="not fitted"):
        copy.inner.state()
    assert inner.temperature_ == 1.7


def test_a_state_goes_through_json() -> None:
    learner = _Learner().fit()
    read = _Learner().load_state(json.loads(json.dumps(learner.state())))
    assert _same(read, learner)


def test_a_file_keeps_options_and_learned_values_to_the_bit(tmp_path: Path) -> None:
    start = torch.tensor([1, 2])
    learner = _Learner(rate=0.1, inner=TemperatureScaling(), start=start).fit()
    path = learner.save(tmp_path / "new folder" / "learner.safetensors")
    read = load(path, known=[_Learner])
    assert _same(read, learner)
    assert [file.name for file in path.parent.iterdir()] == ["learner.safetensors"]
    again = learner.save(tmp_path / "again.safetensors")
    assert again.read_bytes() == path.read_bytes()


class _Bounds(Fittable):
    low_: float
    high_: float
    none_: float
    rows_: list[dict[str, Any]]
    each_: torch.Tensor

    def __init__(self, ends=(0.0, 1.0)):
        self.ends = ends


def test_a_file_is_valid_json_where_numbers_are_not_finite(tmp_path: Path) -> None:
    bounds = _Bounds((-math.inf, math.inf))
    bounds.low_, bounds.high_, bounds.none_ = -math.inf, math.inf, math.nan
    bounds.rows_ = [{"losses": [0.5, math.inf, 1], "sizes": [3, 4]}]
    bounds.each_ = torch.tensor([-math.inf, math.inf, 1e308], dtype=torch.float64)
    path = bounds.save(tmp_path / "bounds")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    with safe_open(path, "pt") as file:
        json.loads(file.metadata()["trueline"], parse_constant=refuse)
    read = load(path, known=[_Bounds])
    assert math.isnan(read.none_)
    bounds.none_ = read.none_ = 0.0
    assert _same(read, bounds)


def test_one_call_at_the_top_reads_any_fitted_object(tmp_path: Path) -> None:
    labels, logits = torch.tensor([0, 1, 1, 0]), torch.tensor([-2.0, 4.0, 3.0, 1.0])
    scaling = TemperatureScaling().fit(labels, logits=logits)
    read = trueline.load(scaling.save(tmp_path / "scaling.safetensors"))
    assert isinstance(read, TemperatureScaling)
    assert read.temperature_ == scaling.temperature_
    assert read.share_seen(logits=logits) == 1


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no file; give one that save"):
        load(tmp_path / "absent")
    (tmp_path / "text").write_text("temperature: 2")
    with pytest.raises(ValueError, match="holds no fitted object"):
        load(tmp_path / "text")
    save_file({"logits": torch.zeros(2)}, tmp_path / "tensors")
    with pytest.raises(ValueError, match="holds no fitted object, only tensors"):
        load(tmp_path / "tensors")


@pytest.mark.parametrize(
    "name", ["os.system", "trueline.calibrate.nothing", "trueline.nothing.X", "trueline.data.load"]
)
def test_a_file_cannot_name_anything_but_a_fittable_class(tmp_path: Path, name: str) -> None:
    header = json.dumps({"class": name, "options": {}, "state": {"x_": 1}})
    save_file({}, tmp_path / "file", metadata={"trueline": header})
    with pytest.raises(ValueError, match=f"holds a {name}, which is unknown here"):
        load(tmp_path / "file")


GOOD = {"num_classes_": 2, "temperature_": 1.7}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({}, "lacks num_classes_, temperature_;"),
        ({"num_classes_": 2}, "lacks temperature_;"),
        ({**GOOD, "slope_": 1.0, "alpha": 0.1}, "holds unknown alpha, slope_;"),
        ({"num_classes_": 2, "slope_": 1.0}, "lacks temperature_ and holds unknown slope_;"),
    ],
)
def test_a_state_holds_what_the_class_learns_and_nothing_else(tmp_path: Path, state: Any, said: str) -> None:
    scaling = TemperatureScaling().load_state(GOOD)
    with pytest.raises(ValueError, match=f"this state of a TemperatureScaling {said} it must hold each value"):
        scaling.load_state(state)
    assert scaling.state() == GOOD
    if state:
        header = json.dumps({"class": "trueline.calibrate.TemperatureScaling", "options": {}, "state": state})
        save_file({}, tmp_path / "file", metadata={"trueline": header})
        with pytest.raises(ValueError, match=said):
            load(tmp_path / "file")


def test_what_a_class_does_not_declare_is_not_saved_to_be_refused_later(tmp_path: Path) -> None:
    learner = _Learner().fit()
    learner.inner_.other_ = 1
    with pytest.raises(ValueError, match="a TemperatureScaling holds unknown other_"):
        learner.save(tmp_path / "learner")
    with pytest.raises(ValueError, match="a TemperatureScaling holds unknown other_"):
        learner.inner_.state()


def test_a_class_of_ones_own_must_be_named(tmp_path: Path) -> None:
    path = _Learner().fit().save(tmp_path / "learner")
    with pytest.raises(ValueError, match=r"pass known=\[_Learner\]"):
        load(path)


def test_what_a_file_cannot_hold_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = _Learner().fit().save(tmp_path / "learner")
    before = path.read_bytes()
    with pytest.raises(TypeError, match="a function cannot be saved"):
        _Learner(inner=lambda: None).fit().save(path)
    with pytest.raises(RuntimeError, match="not fitted"):
        _Learner().save(path)
    learner = _Learner().fit()
    learner.table_ = {"not finite": 1.0}
    with pytest.raises(TypeError, match="cannot have the keys"):
        learner.save(path)
    assert path.read_bytes() == before


def test_learned_tensors_move_and_others_are_asked_for() -> None:
    learner = _Learner().fit().to("meta")
    assert {value.device.type for value in (learner.index_, learner.mask_, learner.table_["x"])} == {"meta"}
    scaling = VectorScaling().load_state({"num_classes_": 2, "slope_": [1.0, 2.0], "intercept_": [0.0, 0.0]})
    with pytest.raises(ValueError, match=r"learned is not; call .to\('cpu'\) first"):
        scaling.to("meta").transform(logits=torch.zeros(1, 2))


def test_a_failed_fit_goes_back_to_the_earlier_one_and_its_fingerprint() -> None:
    learner = _Learner().fit()
    learner._seen = torch.tensor([5])
    before = dict(vars(learner))

    def fail() -> None:
        with learner._learning():
            assert learner._learned() == []
            learner.other_ = 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert vars(learner) == before
    with learner._learning():
        learner.other_ = 1
    assert learner._learned() == ["other_"]
    assert learner._seen is None


def test_weights_that_are_refused_leave_a_causal_map_as_it_was() -> None:
    effects, pseudo = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 3.0, 1.0])
    causal = CausalIsotonic().fit(effects, pseudo)
    before = causal.transform(effects)
    with pytest.raises(ValueError, match="weight"):
        causal.fit(effects, pseudo, weight=-effects)
    assert torch.equal(causal.transform(effects), before)


def test_validation_samples_that_are_refused_leave_a_boosting_unfitted() -> None:
    inputs, targets = torch.zeros(20, 1), torch.linspace(0, 1, 20)
    boosting = LevelSetBoosting(LeastSquares())
    with pytest.raises(ValueError, match="targets"):
        boosting.fit(inputs, targets, validation=(inputs, 2 * targets))
    with pytest.raises(RuntimeError, match="not fitted"):
        boosting.predict(inputs)
