from pathlib import Path
from typing import Any

import pytest
import tomli_w

from trueline.train import RunConfig, dump_config, load_config, with_overrides

EVERYTHING: dict[str, Any] = {
    "seed": 7,
    "data": {
        "name": "cifar10",
        "shards": [0, 1],
        "noise": {"kind": "asymmetric", "rate": 0.4, "mapping": {3: 5, 5: 3}, "seed": 1},
        "test": None,
        "normalise": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
    },
    "model": {"name": "mlp", "hidden": ()},
    "objective": {"name": "dps", "window": float("inf"), "label_half_life": 3},
    "contrastive": {"weight": 0.5},
    "optimizer": {"name": "adamw", "learning_rate": 1, "betas": (0.8, 0.9)},
    "schedule": {"name": "step", "milestones": (1, 2)},
    "training": {"epochs": 3, "batch_size": 40, "clip_norm": 1, "average": 0.9, "early_stopping": 2},
}

TARGETS: dict[str, Any] = {
    "model": {"name": "mlp", "softplus": 5},
    "training": {"epochs": 3, "batch_size": 40, "stop_at_accuracy": 0.9, "stop_at_loss": 1},
}


@pytest.mark.parametrize("extra", [{}, EVERYTHING, TARGETS], ids=["small", "everything", "targets"])
def test_dumping_and_loading_is_the_identity(tables: dict[str, Any], extra: dict[str, Any], tmp_path: Path) -> None:
    config = RunConfig.model_validate(tables | extra)
    path = tmp_path / "run.toml"
    path.write_text(dump_config(config))
    again = load_config(path)
    assert again == config
    assert again.model_dump() == config.model_dump()
    assert dump_config(again) == dump_config(config)


def test_every_error_of_a_file_is_listed_with_its_place(tables: dict[str, Any], tmp_path: Path) -> None:
    tables["training"] = {"epochs": 0, "batch_size": "many"}
    tables["optimizer"] = {"name": "sgd", "learning_rat": 1}
    path = tmp_path / "run.toml"
    path.write_text(tomli_w.dumps(tables))
    with pytest.raises(ValueError, match=r"run.toml") as error:
        load_config(path)
    for part in ("[training] epochs: ", "got 0", "[training] batch_size: ", "got 'many'", "'learning_rate'?"):
        assert part in str(error.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no configuration"):
        load_config(tmp_path / "missing.toml")
    (tmp_path / "run.toml").write_text("name = ")
    with pytest.raises(ValueError, match=r"run.toml is not TOML"):
        load_config(tmp_path / "run.toml")


def test_overrides_replace_single_keys(config: RunConfig) -> None:
    changed = with_overrides(
        config,
        ["training.epochs=9", "model.hidden=[8, 4]", "name=other", "data.noise.rate=0.5", "training.clip_norm=1e-1"],
    )
    assert (changed.training.epochs, changed.name, changed.training.clip_norm) == (9, "other", 0.1)
    assert changed.model.options == {"hidden": (8, 4)}
    assert changed.data.noise is not None
    assert changed.data.noise.rate == 0.5
    assert changed.training.batch_size == config.training.batch_size
    assert config.training.epochs == 3


def test_none_unsets_a_key(config: RunConfig) -> None:
    assert with_overrides(config, ["data.noise=none"]).data.noise is None
    assert with_overrides(config, ["training.average=0.9", "training.average=none"]).training.average is None


def test_another_component_drops_the_options_of_the_old_one(config: RunConfig) -> None:
    changed = with_overrides(config, ["objective.name=label_smoothing", "objective.smoothing=0.2"])
    assert changed.objective.options == {"smoothing": 0.2}
    assert with_overrides(config, ["objective.name=dps"]).objective.options == {"label_half_life": 2.0}


def test_another_data_set_keeps_splits_and_noise(config: RunConfig) -> None:
    changed = with_overrides(config, ["data.name=arrays", "data.path=/tmp/some.npz"]).data
    assert str(changed.options["path"]) == "/tmp/some.npz"
    assert (changed.noise, changed.train_size) == (config.data.noise, 200)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", r"key in \[training\] 'epoch'; did you mean 'epochs'\?"),
        ("traning.epochs=3", r"unknown table or key 'traning'; did you mean 'training'\?"),
        ("objective.windw=3", r"key in \[objective\] 'windw'; did you mean 'window'\?"),
        ("training.epochs", "has the form table.key=value"),
        ("training.=3", "has the form table.key=value"),
        ("model.hidden=[1", "has no TOML value"),
        ("training.epochs=", "has no TOML value"),
        ("seed.deep=3", "sets a key of seed, which is no table"),
        ("training.epochs=0", r"\[training\] epochs: .*greater than or equal to 1, got 0"),
        ("training.epochs=soon", r"\[training\] epochs: .*got 'soon'"),
    ],
)
def test_a_wrong_override_is_named(config: RunConfig, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_overrides(config, [override])
