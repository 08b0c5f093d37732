import inspect

import numpy as np
import pytest

from trueline.data import SOURCES, Source, load


def test_every_source_is_known_by_its_name() -> None:
    assert set(SOURCES) == {"arrays", "cifar10", "digits", "hub", "image_folder", "user"}
    for name in SOURCES:
        assert inspect.signature(SOURCES[name]).return_annotation is Source


def test_options_reach_the_source(tmp_path) -> None:
    np.savez(tmp_path / "set.npz", x=np.zeros((2, 3, 5, 3), dtype=np.uint8), y=np.array([0, 1]))
    assert load("arrays", path=str(tmp_path / "set.npz"), channels="last").train.input_shape == (3, 3, 5)
    assert len(load("digits").train) == 1797


def test_no_option_of_a_source_hides_a_key_that_every_source_has() -> None:
    from trueline.train import DataConfig

    for name in SOURCES:
        assert not set(SOURCES.signature(name).parameters) & set(DataConfig.model_fields)


def test_signatures_tell_options_and_defaults() -> None:
    assert not SOURCES.signature("digits").parameters
    options = SOURCES.signature("cifar10").parameters
    assert {name: option.default for name, option in options.items()} == {
        "folder": None,
        "labels": "label",
        "shards": None,
    }


def test_unknown_names_and_options_name_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'cifar'; did you mean 'cifar10'\?"):
        load("cifar")
    with pytest.raises(ValueError, match=r"unknown option of data set 'cifar10' 'label'; did you mean 'labels'\?"):
        load("cifar10", label="label_worst")
    with pytest.raises(ValueError, match="data set 'arrays' needs path"):
        load("arrays")
    with pytest.raises(ValueError, match="unknown data set 'mnits'"):
        SOURCES.signature("mnits")
