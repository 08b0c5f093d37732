"""Checkpoints: one safetensors file each, tensors and a few plain facts, nothing that could run code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor
from torch.optim import Optimizer

from trueline.contracts import replacing

FORMAT = "trueline checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on.

    Args:
        parts: tensors by part and name, such as ``parts["model"]["classifier.weight"]``.
        facts: plain values: how far the run is, its configuration, its environment.
    """

    parts: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Replace the file at ``path`` as a whole."""
        tensors = {
            f"{part}/{name}": tensor.detach().cpu().contiguous()
            for part, named in self.parts.items()
            for name, tensor in named.items()
        }
        with replacing(path) as temporary:
            # One entry, because several would come in a random order and equal runs write equal files.
            save_file(tensors, temporary, metadata={FORMAT: json.dumps(self.facts)})

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part; empty if it was saved without any."""
        return dict(self.parts.get(name, {}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU, also while a run replaces it.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ValueError: if there is no such file, or it is damaged or something else.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}")
    # Opened once: readers of safetensors files open them twice, and in between a run may have replaced this one.
    content = path.read_bytes()
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged ({error}); Trueline replaces checkpoints as a whole, so something else cut it short: "
            "restore the file, or delete the run folder and train again"
        ) from error
    metadata = _metadata(content)
    if FORMAT not in metadata:
        raise ValueError(f"{path} is no '{FORMAT}'; was it written by another program or version?")
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = tensor
    return Checkpoint(parts, json.loads(metadata[FORMAT]))


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file: eight bytes for the length of a JSON header, then the header."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return metadata


def check_same_config(saved: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with another configuration.

    Args:
        saved: the configuration in the checkpoint, as plain tables.
        given: the configuration to go on with.
        path: the checkpoint.

    Raises:
        ValueError: naming every key that differs.
    """
    before, after = _flat(saved), _flat(given)
    changed = [
        f"{key} = {after.get(key, 'none')!r} (was {before.get(key, 'none')!r})"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if changed:
        raise ValueError(
            f"{path} belongs to another configuration: {', '.join(changed)}; resume with the one in the run folder, "
            "or train into a new folder"
        )


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as tensors; its hyper-parameters come from the configuration.

    Args:
        optimizer: SGD, AdamW or another whose state holds tensors only.

    Returns:
        Tensors named ``parameter/key`` with the parameter's number.
    """
    return {
        f"{number}/{key}": value
        for number, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
        if value is not None  # SGD without momentum
    }


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` returned.

    Args:
        optimizer: the same optimiser of the same parameters.
        tensors: its state.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
