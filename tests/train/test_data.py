from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from trueline.train import RunConfig
from trueline.train._data import make_loaders, make_normalisation, make_splits
from trueline.train._device import run_device

from .conftest import change


def test_noise_touches_the_training_labels_only(config: RunConfig) -> None:
    parts = make_splits(config)
    assert int((parts.train.labels != parts.train.true_labels).sum()) == 40
    for part in (parts.validation, parts.calibration, parts.test):
        assert torch.equal(part.labels, part.true_labels)


def test_noise_and_split_have_seeds_of_their_own(config: RunConfig) -> None:
    base = make_splits(config)
    other_noise = make_splits(change(config, "data.noise.seed=5"))
    assert torch.equal(base.train.source_index, other_noise.train.source_index)
    assert not torch.equal(base.train.labels, other_noise.train.labels)
    same_split = make_splits(change(config, "seed=5", "data.split_seed=0"))
    assert torch.equal(base.test.source_index, same_split.test.source_index)
    assert not torch.equal(base.test.source_index, make_splits(change(config, "seed=5")).test.source_index)


def test_labels_from_a_file_follow_their_samples(config: RunConfig, tmp_path: Path) -> None:
    given = torch.arange(1797) % 10
    np.save(tmp_path / "labels.npy", given.numpy())
    noise = f"data.noise={{kind='file', path='{tmp_path / 'labels.npy'}'}}"
    parts = make_splits(change(config, "data.noise=none", noise))
    assert torch.equal(parts.train.labels, given[parts.train.source_index])
    assert torch.equal(parts.test.labels, parts.test.true_labels)
    assert torch.equal(parts.train.source_index, make_splits(config).train.source_index)


def test_asymmetric_noise_follows_its_mapping(config: RunConfig) -> None:
    train = make_splits(change(config, "data.noise={kind='asymmetric', rate=0.5, mapping={1=7}}")).train
    changed = train.labels != train.true_labels
    assert changed.any()
    assert set(train.true_labels[changed].tolist()) == {1}
    assert set(train.labels[changed].tolist()) == {7}


def test_asymmetric_noise_without_mapping_is_refused(config: RunConfig) -> None:
    with pytest.raises(ValueError, match="'asymmetric' needs mapping"):
        make_splits(change(config, "data.noise={kind='asymmetric', rate=0.5}"))


def test_an_empty_split_has_no_evaluator(config: RunConfig) -> None:
    assert set(_evaluators(change(config, "data.validation=0", "data.calibration=0"))) == {"train", "test"}
    assert set(_evaluators(config)) == {"train", "validation", "calibration", "test"}


def test_too_many_pieces_for_a_step_are_refused(config: RunConfig) -> None:
    with pytest.raises(ValueError, match=r"accumulate = 50 pieces .* may be 40"):
        _evaluators(change(config, "training.accumulate=50"))


def _evaluators(config: RunConfig) -> dict[str, object]:
    with run_device(config.training) as accelerator:
        assert isinstance(accelerator, Accelerator)
        splits = make_splits(config)
        return dict(make_loaders(config, splits, make_normalisation(config, splits.train), accelerator)[1])
