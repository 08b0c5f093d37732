import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.stats import chisquare

from trueline.contracts import facts_of
from trueline.data import CIFAR10_CONFUSIONS, asymmetric_noise, labels_from_file, symmetric_noise


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None)
@given(size=st.integers(0, 200), rate=st.floats(0, 1), classes=st.integers(2, 6), seed=st.integers(0, 1000))
def test_symmetric_noise_changes_the_exact_number_and_never_to_itself(size, rate, classes, seed) -> None:
    labels = torch.randint(classes, (size,), generator=seeded(seed))
    before = labels.clone()
    noisy = symmetric_noise(labels, rate, classes, generator=seeded(seed))
    assert int((noisy != labels).sum()) == round(rate * size)
    assert torch.equal(labels, before)
    assert noisy.dtype == torch.int64
    assert not size or 0 <= int(noisy.min()) <= int(noisy.max()) < classes


def test_symmetric_noise_is_uniform_over_the_other_classes(generator) -> None:
    labels = torch.arange(4).repeat(5000)
    noisy = symmetric_noise(labels, 0.6, 4, generator=generator)
    for label in range(4):
        counts = noisy[(labels == label) & (noisy != labels)].bincount(minlength=4)
        others = np.delete(counts.numpy(), label)
        assert chisquare(others).pvalue > 1e-3
    hit = (noisy != labels).view(-1, 4).sum(dim=0).numpy()
    assert chisquare(hit).pvalue > 1e-3


def test_two_classes_at_full_rate_swap(generator) -> None:
    labels = torch.tensor([0, 1, 1, 0])
    assert symmetric_noise(labels, 1.0, 2, generator=generator).tolist() == [1, 0, 0, 1]


def test_asymmetric_noise_changes_each_mapped_class_by_its_share(generator) -> None:
    labels = torch.arange(10).repeat_interleave(torch.arange(11, 21))
    noisy = asymmetric_noise(labels, 0.4, CIFAR10_CONFUSIONS, 10, generator=generator)
    for label in range(10):
        members = noisy[labels == label]
        target = CIFAR10_CONFUSIONS.get(label, label)
        wrong = round(0.4 * len(members)) if label in CIFAR10_CONFUSIONS else 0
        assert int((members != label).sum()) == wrong
        assert int((members == target).sum()) == (wrong or len(members))


def test_the_generator_alone_decides() -> None:
    labels = torch.arange(10).repeat(20)
    for noise in (
        lambda seed: symmetric_noise(labels, 0.4, 10, generator=seeded(seed)),
        lambda seed: asymmetric_noise(labels, 0.4, CIFAR10_CONFUSIONS, 10, generator=seeded(seed)),
    ):
        assert torch.equal(noise(3), noise(3))
        assert not torch.equal(noise(3), noise(4))


@pytest.mark.parametrize(
    ("rate", "classes", "labels", "message"),
    [
        (-0.1, 3, [0], r"rate must be a share in \[0, 1\], got -0.1"),
        (float("nan"), 3, [0], r"rate must be a share in \[0, 1\], got nan"),
        (0.1, 1, [0], "num_classes must be at least 2"),
        (0.1, 3, [0, 3], r"labels must lie in \[0, 2\], got values from 0 to 3"),
    ],
)
def test_bad_values_are_named(rate, classes, labels, message, generator) -> None:
    with pytest.raises(ValueError, match=message):
        symmetric_noise(torch.tensor(labels), rate, classes, generator=generator)
    with pytest.raises(ValueError, match=message):
        asymmetric_noise(torch.tensor(labels), rate, {0: 1}, classes, generator=generator)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "mapping must name at least one class"),
        ({1: 1}, r"mapping must lead from a class in \[0, 2\] to another one, got 1 -> 1"),
        ({0: 3}, "got 0 -> 3"),
        ({-1: 0}, "got -1 -> 0"),
    ],
)
def test_bad_mappings_are_named(mapping, message, generator) -> None:
    with pytest.raises(ValueError, match=message):
        asymmetric_noise(torch.tensor([0, 1]), 0.5, mapping, 3, generator=generator)


def test_noise_is_cited() -> None:
    assert facts_of(symmetric_noise).references[0].arxiv == "1505.07634"
    assert facts_of(asymmetric_noise).references[0].arxiv == "1609.03683"


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "txt"])
def test_labels_are_read_from_every_format(tmp_path, suffix) -> None:
    labels = torch.tensor([2, 0, 1])
    path = tmp_path / f"labels.{suffix}"
    match suffix:
        case "npy":
            np.save(path, labels.numpy().astype(np.float64))  # whole numbers in any type
        case "npz":
            np.savez(path, worst=labels.numpy(), clean=labels.numpy() * 0)
        case "safetensors":
            save_file({"labels": labels.to(torch.int8)}, path)
        case "txt":
            path.write_text("2\n0\n1\n")
    read = labels_from_file(path, torch.zeros(3, dtype=torch.int64), key="worst" if suffix == "npz" else None)
    assert read.dtype == torch.int64
    assert torch.equal(read, labels)


def test_unfit_label_files_are_named(tmp_path) -> None:
    true = torch.zeros(3, dtype=torch.int64)
    for name, values, message in (
        ("short.npy", np.array([0, 1]), r"short.npy must hold 3 labels, one a sample, got shape \(2,\)"),
        ("half.npy", np.array([0.5, 1, 2]), "half.npy must hold whole numbers of at least 0, got float64"),
        ("nan.npy", np.array([np.nan, 1, 2]), "whole numbers"),
        ("minus.npy", np.array([0, -1, 2]), "whole numbers"),
        ("text.npy", np.array(["a", "b", "c"]), "whole numbers"),
    ):
        np.save(tmp_path / name, values)
        with pytest.raises(ValueError, match=message):
            labels_from_file(tmp_path / name, true)
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(ValueError, match="key must name one of its arrays a, b, got None"):
        labels_from_file(tmp_path / "two.npz", true)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    (tmp_path / "broken.safetensors").write_bytes(b"none")
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    for name in ("broken.npz", "broken.safetensors", "words.txt"):
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            labels_from_file(tmp_path / name, true)
    with pytest.raises(ValueError, match="there is no file"):
        labels_from_file(tmp_path / "absent.npy", true)
    (tmp_path / "labels.csv").write_text("1")
    with pytest.raises(ValueError, match=r"arrays are read from .npz or .safetensors files, got labels.csv"):
        labels_from_file(tmp_path / "labels.csv", true)
