"""Run folders in the documented file format, written without training anything."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import save_file
from torch import Tensor

from trueline.calibrate import TemperatureScaling

RunWriter = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> RunWriter:
    """A function that writes one run folder into the test's own directory."""

    def write(name: str = "run", **options: Any) -> Path:
        return write_run_folder(tmp_path / name, name=name, **options)

    return write


def write_run_folder(
    path: Path,
    *,
    name: str,
    objective: str = "dps",
    classes: int = 10,
    samples: int = 360,
    sharpness: float = 1.0,
    signal: float = 3.0,
    wrong: float = 0.4,
    calibration: int = 180,
    epochs: int = 12,
    with_beliefs: bool = True,
    images: Tensor | None = None,
    true_labels: Tensor | None = None,
    class_names: Sequence[str] = (),
    seed: int = 0,
) -> Path:
    """Write a run whose labels are drawn from its own probabilities, which ``sharpness`` then overstates."""
    generator = torch.Generator().manual_seed(seed)
    path.mkdir(parents=True)
    training = 1257 if true_labels is None else len(true_labels)
    tensors: dict[str, Tensor] = {}
    for split, size in {"train": training, "calibration": calibration, "test": samples}.items():
        if size == 0:
            continue
        logits, labels = _predictions(size, classes, signal, generator)
        if split == "train" and true_labels is not None:
            logits, labels = logits.roll(1, 1) * 0, true_labels
        given = _corrupt(labels, wrong if split == "train" else 0.0, classes, generator)
        index = torch.arange(size)
        tensors |= {f"{split}.logits": logits * sharpness, f"{split}.labels": given}
        tensors |= {f"{split}.true_labels": labels, f"{split}.index": index}
    save_file(tensors, path / "predictions.safetensors")
    if calibration:
        scaling = TemperatureScaling().fit(tensors["calibration.labels"], logits=tensors["calibration.logits"])
        record = {"method": "TemperatureScaling", "temperature": scaling.temperature_, "fitted_on": "calibration"}
        (path / "calibration.json").write_text(json.dumps(record | {"samples": calibration}))
    if with_beliefs:
        save_file(_beliefs(tensors, classes, images, generator), path / "beliefs.safetensors")
    rows = [_epoch(e, epochs, wrong, sharpness, with_beliefs) for e in range(1, epochs + 1)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "name": name,
        "seed": seed,
        "data": {"name": "digits", "noise": {"kind": "symmetric", "rate": wrong}},
        "model": {"name": "mlp", "hidden": [128, 128]},
        "objective": {"name": objective},
        "optimizer": {"name": "adamw", "learning_rate": 0.003},
        "training": {"epochs": epochs, "batch_size": 64},
    }
    (path / "config.toml").write_text(tomli_w.dumps(config))
    environment = {"trueline": "0.1.0", "torch": "2.13.0", "python": "3.11.9", "device": "cpu", "threads": 2}
    environment |= {"started": "2026-01-02T03:04:05Z", "finished": "2026-01-02T03:05:06Z"}
    if class_names:
        environment["class_names"] = list(class_names)  # type: ignore[assignment]
    (path / "environment.json").write_text(json.dumps(environment))
    return path


def _predictions(size: int, classes: int, signal: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    logits = signal * torch.randn(size, classes, generator=generator)
    return logits, logits.softmax(1).multinomial(1, generator=generator).squeeze(1)


def _corrupt(labels: Tensor, rate: float, classes: int, generator: torch.Generator) -> Tensor:
    changed = torch.rand(len(labels), generator=generator) < rate
    shift = torch.randint(1, classes, labels.shape, generator=generator)
    return torch.where(changed, (labels + shift) % classes, labels)


def _beliefs(
    tensors: dict[str, Tensor], classes: int, images: Tensor | None, generator: torch.Generator
) -> dict[str, Tensor]:
    given, true = tensors["train.labels"], tensors["train.true_labels"]
    believed = torch.where(torch.rand(len(true), generator=generator) < 0.93, true, (true + 1) % classes)
    believed = torch.where(torch.rand(len(true), generator=generator) < 0.05, given, believed)
    weight = 0.5 + 0.49 * torch.rand(len(true), generator=generator)
    beliefs = ((1 - weight) / (classes - 1))[:, None].repeat(1, classes)
    beliefs.scatter_(1, believed[:, None], weight[:, None])
    left = (believed != given).nonzero().squeeze(1)
    positions = left[weight[left].argsort(descending=True)][:200]
    if images is None:
        images = torch.randint(0, 256, (len(true), 1, 8, 8), dtype=torch.uint8, generator=generator)
    return {"beliefs": beliefs, "images": images[positions].contiguous(), "positions": positions}


def _epoch(epoch: int, epochs: int, wrong: float, sharpness: float, with_beliefs: bool) -> dict[str, Any]:
    t = epoch / epochs
    held_out = {
        "accuracy": 0.95 - 0.5 * 0.1 ** (4 * t) - 0.2 * max(0.0, sharpness - 1) * t,
        "log_loss": 0.3 + 2 * 0.05 ** (2 * t) + 0.8 * max(0.0, sharpness - 1) * t,
        "brier": 0.2,
        "ece": 0.04 + 0.2 * max(0.0, sharpness - 1) * t,
        "confidence_gap": 0.0,
    }
    monitors = {"left_label_share": wrong * t, "label_weight": 1 - 0.9 * t, "belief_spread": 0.2 * (1 - t)}
    return {
        "epoch": epoch,
        "step": 20 * epoch,
        "learning_rate": 0.003 * (1 - t),
        "seconds": 0.4,
        "train": {
            "loss": 2.3 * (1 - t),
            "accuracy_given": 0.2 + (0.4 + 0.3 * max(0.0, sharpness - 1)) * t,
            "accuracy_true": 0.3 + 0.6 * t - 0.25 * max(0.0, sharpness - 1) * t,
        },
        "test": held_out,
        "objective": monitors if with_beliefs else {},
    }
