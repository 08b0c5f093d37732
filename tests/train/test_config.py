import inspect
from typing import Any

import pytest
from pydantic import ValidationError

from trueline.data import Transform
from trueline.models import WithProjection
from trueline.supervise import Contrastive
from trueline.train import AugmentConfig, ContrastiveConfig, NoiseConfig, OptimizerConfig, RunConfig, ScheduleConfig


def test_options_are_read_with_the_types_of_the_code(tables: dict[str, Any]) -> None:
    config = RunConfig.model_validate(tables | {"objective": {"name": "dps", "window": 5}})
    assert config.model.options == {"hidden": (16,)}
    assert isinstance(config.objective.options["window"], float)


def test_an_option_left_out_is_not_filled_in(tables: dict[str, Any]) -> None:
    assert RunConfig.model_validate(tables | {"model": {"name": "mlp"}}).model.options == {}
    none = {"name": "dps", "window": None}
    assert RunConfig.model_validate(tables | {"objective": none}).objective.options == {}


@pytest.mark.parametrize(
    ("table", "value", "message"),
    [
        ("trainig", {}, r"unknown table or key 'trainig'; did you mean 'training'\? Known: name, seed"),
        ("training", {"epochs": 1, "batchsize": 2}, r"key in \[training\] 'batchsize'; did you mean 'batch_size'\?"),
        ("model", {"name": "mlp", "hiden": [3]}, r"key in \[model\] 'hiden'; did you mean 'hidden'\? Known: name"),
        ("model", {"name": "mpl"}, r"unknown model 'mpl'; did you mean 'mlp'\?"),
        ("model", {"name": "mlp", "hidden": "wide"}, r"\[model\] hidden: .*got 'wide'"),
        ("model", {"hidden": [3]}, r"name\n +Field required"),
        ("objective", {"name": "dps", "order": "never"}, r"\[objective\] order: .*'after' or 'before'"),
        ("data", {"name": "digits", "folder": "x"}, r"key in \[data\] 'folder'"),
        ("data", {"name": "arrays"}, r"\[data\] name = 'arrays' also needs path"),
        ("data", {"name": "digits", "augment": {"pads": 1}}, r"key in \[data.augment\] 'pads'; did you mean 'pad'\?"),
        ("data", {"name": "digits", "validation": 1.0}, "less than 1"),
        ("contrastive", {"wait": 1}, r"key in \[contrastive\] 'wait'; did you mean 'weight'\?"),
        ("schedule", {"name": "cosine", "warmup_epochs": 3}, "warmup_epochs must be below the 3 epochs"),
        ("seed", -1, "greater than or equal to 0"),
    ],
)
def test_a_wrong_key_or_value_is_named(tables: dict[str, Any], table: str, value: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RunConfig.model_validate(tables | {table: value})


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"kind": "symmetric"}, "kind = 'symmetric' needs rate"),
        ({"kind": "file", "rate": 0.1}, "kind = 'file' needs path"),
        ({"kind": "file", "path": "x", "seed": 1}, "kind = 'file' takes no seed"),
        ({"kind": "symmetric", "rate": 0.1, "mapping": {1: 2}}, "kind = 'symmetric' takes no mapping"),
    ],
)
def test_noise_takes_what_its_kind_needs(noise: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NoiseConfig(**noise)


def test_noise_mappings_may_have_text_keys_as_toml_gives_them() -> None:
    assert NoiseConfig.model_validate({"kind": "asymmetric", "rate": 0.4, "mapping": {"3": 5}}).mapping == {3: 5}


def test_an_optimiser_refuses_what_it_would_ignore() -> None:
    with pytest.raises(ValidationError, match="'adamw' takes no nesterov"):
        OptimizerConfig(name="adamw", learning_rate=0.1, nesterov=True)
    with pytest.raises(ValidationError, match="'sgd' takes no betas"):
        OptimizerConfig(name="sgd", learning_rate=0.1, betas=(0.5, 0.5))
    with pytest.raises(ValidationError, match="nesterov needs a momentum above 0"):
        OptimizerConfig(name="sgd", learning_rate=0.1, momentum=0, nesterov=True)


@pytest.mark.parametrize("schedule", [{"name": "step"}, {"name": "cosine", "milestones": (2,)}])
def test_milestones_and_steps_go_together(schedule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="go with name = 'step'"):
        ScheduleConfig(**schedule)


@pytest.mark.parametrize("option", [{"early_stopping": 2}, {"stop_at_accuracy": 0.9}])
def test_what_looks_at_the_validation_split_needs_one(tables: dict[str, Any], option: dict[str, Any]) -> None:
    tables["training"] |= option
    tables["data"] |= {"validation": 0.0}
    with pytest.raises(ValidationError, match=f"{next(iter(option))} needs a validation split"):
        RunConfig.model_validate(tables)


@pytest.mark.parametrize("option", [{"stop_at_accuracy": 0.9}, {"stop_at_loss": 0.1}])
def test_early_stopping_and_a_target_do_not_go_together(tables: dict[str, Any], option: dict[str, Any]) -> None:
    tables["training"] |= {"early_stopping": 2, **option}
    with pytest.raises(ValidationError, match=f"goes back to the best epoch, and {next(iter(option))} keeps the first"):
        RunConfig.model_validate(tables)


@pytest.mark.parametrize(
    "option", [{"stop_at_accuracy": 0.0}, {"stop_at_accuracy": 1.1}, {"stop_at_loss": 0.0}, {"stop_at_loss": -1.0}]
)
def test_targets_that_cannot_be_met_are_refused(tables: dict[str, Any], option: dict[str, Any]) -> None:
    tables["training"] |= option
    with pytest.raises(ValidationError, match=next(iter(option))):
        RunConfig.model_validate(tables)


def test_configurations_do_not_change(config: RunConfig) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


def test_defaults_that_stand_twice_agree() -> None:
    """Contrastive and augmentation options are written out here, so that they can be tables."""
    code = {
        name: parameter.default
        for function in (Contrastive, WithProjection, Transform)
        for name, parameter in inspect.signature(function).parameters.items()
    }
    for table in (ContrastiveConfig, AugmentConfig):
        for name, field in table.model_fields.items():
            assert field.default == code[name], name
