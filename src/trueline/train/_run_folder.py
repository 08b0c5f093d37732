"""The folder of one run: what lies in it, how it is read, and how it is written so that a kill never spoils it."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64, Shaped, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trueline.contracts import replacing, write_atomically


@dataclass(frozen=True, eq=False)
class Predictions:
    """A network's final outputs on one split.

    Args:
        logits: (N, C) outputs, float32.
        labels: (N,) given labels.
        true_labels: (N,) labels for evaluation.
        index: (N,) rows in the original data set.
        soft_labels: (N, C) distributions of human labels, or None.
    """

    logits: Float[Tensor, "N C"]
    labels: Int64[Tensor, " N"]
    true_labels: Int64[Tensor, " N"]
    index: Int64[Tensor, " N"]
    soft_labels: Float[Tensor, "N C"] | None = None


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What an objective with a memory believes about every training sample in the end.

    Args:
        beliefs: (N, C) distributions, in the order of the training set.
        images: (K, C, H, W) pixels in 0..255 of samples whose belief left the given label, the most confident
            first; K is 0 where the inputs are no images.
        positions: (K,) the places of those samples in the training set.
    """

    beliefs: Float[Tensor, "N C"]
    images: UInt8[Tensor, "K channels H W"]
    positions: Int64[Tensor, " K"]


@dataclass(frozen=True, eq=False)
class Pictures:
    """What some samples look like.

    Args:
        images: (K, C, H, W) pixels in 0..255.
        positions: (K,) the places of those samples in their split.
    """

    images: UInt8[Tensor, "K channels H W"]
    positions: Int64[Tensor, " K"]


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Every file is replaced as a whole, so what can be read is complete.

    ``config.toml`` what was asked for; ``metrics.jsonl`` one line a finished epoch; with ``[stability]``
    ``stability.jsonl``, one line a measurement; ``predictions.safetensors``;
    ``beliefs.safetensors`` for objectives with a memory; ``mistakes.safetensors`` with the pictures of the surest wrong
    test predictions, where the inputs are images; ``calibration.json`` with a calibration split; ``environment.json``;
    ``checkpoints/last.safetensors`` and ``checkpoints/best.safetensors``, and with ``training.snapshots`` the
    weights of chosen epochs, such as ``checkpoints/epoch0004.safetensors``, with ``training.predictions_every`` the
    logits after epochs, such as ``checkpoints/logits0004.safetensors``.

    Args:
        path: the folder.

    Example:
        >>> RunFolder(Path("nowhere")).is_finished()
        False
    """

    path: Path

    @property
    def last_checkpoint(self) -> Path:
        """Path of the checkpoint that a run resumes from."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best_checkpoint(self) -> Path:
        """Path of the checkpoint of the epoch with the best validation score."""
        return self.path / "checkpoints" / "best.safetensors"

    def snapshot(self, epoch: int) -> Path:
        """Return the path of the weights after ``epoch`` epochs, kept or not; 0 for the initial ones."""
        return self.path / "checkpoints" / f"epoch{epoch:04d}.safetensors"

    def snapshots(self) -> dict[int, Path]:
        """Return the weights that were kept so far, by finished epochs, in order; :func:`load_model` reads them."""
        return self._by_epoch("epoch")

    def epoch_logits(self, split: str) -> dict[int, Float[Tensor, "N C"]]:
        """Return the logits that ``training.predictions_every`` kept so far, by finished epochs, in order.

        ``torch.stack(list(run.epoch_logits("calibration").values()))`` is what
        :class:`trueline.conformal.ConformalEarlyStopping` learns from, with the true labels of that split.

        Args:
            split: ``"calibration"`` or ``"test"``.

        Returns:
            (N, C) logits, float32, for each of these epochs.

        Raises:
            ValueError: if the split is another one, or a file is damaged.
        """
        if split not in ("calibration", "test"):
            raise ValueError(f"logits are kept of the splits 'calibration' and 'test', got {split!r}")
        return {epoch: _read_tensors(path)[split] for epoch, path in self._by_epoch("logits").items()}

    def write_epoch_logits(self, epoch: int, logits: Mapping[str, Float[Tensor, "_N C"]]) -> None:
        """Keep the logits after an epoch.

        Args:
            epoch: finished epochs.
            logits: (N, C) of each split.
        """
        self.write_tensors(f"checkpoints/logits{epoch:04d}.safetensors", logits)

    def is_finished(self) -> bool:
        """Return whether the run has come to its end."""
        path = self.path / "environment.json"
        return path.is_file() and self.environment().get("finished") is not None

    def config(self) -> dict[str, Any]:
        """Return the configuration as plain tables; :func:`load_config` gives the typed one.

        Raises:
            ValueError: if this is no run folder, or the file is not TOML.
        """
        text = self._text("config.toml")
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{self.path / 'config.toml'} is not TOML: {error}") from error

    def metrics(self) -> list[dict[str, Any]]:
        """Return one record per finished epoch; empty before the first.

        Raises:
            ValueError: if a complete line is not JSON.
        """
        return self._rows("metrics.jsonl")

    def stability(self) -> list[dict[str, Any]]:
        """Return one record per measurement of ``[stability]``; empty without it.

        Raises:
            ValueError: if a complete line is not JSON.
        """
        return self._rows("stability.jsonl")

    def predictions(self, split: str) -> Predictions | None:
        """Return the final predictions on ``"train"``, ``"validation"``, ``"calibration"`` or ``"test"``.

        Returns:
            The predictions, or None if the run is not finished or that split was empty.

        Raises:
            ValueError: if the file is damaged.
        """
        tensors = _read_tensors(self.path / "predictions.safetensors", prefix=f"{split}.")
        return Predictions(**tensors) if tensors else None

    def beliefs(self) -> Beliefs | None:
        """Return the target memory, or None if the run is not finished or its objective keeps none.

        Raises:
            ValueError: if the file is damaged.
        """
        tensors = _read_tensors(self.path / "beliefs.safetensors")
        return Beliefs(**tensors) if tensors else None

    def mistakes(self) -> Pictures | None:
        """Return the pictures of the wrong test predictions, the most confident first.

        Returns:
            The pictures, or None if the run is not finished, nothing is wrong or the inputs are no images.

        Raises:
            ValueError: if the file is damaged.
        """
        tensors = _read_tensors(self.path / "mistakes.safetensors")
        return Pictures(**tensors) if tensors else None

    def calibration(self) -> dict[str, Any] | None:
        """Return the fitted calibration, or None without one.

        Raises:
            ValueError: if the file is damaged.
        """
        path = self.path / "calibration.json"
        return _parse_json(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else None

    def environment(self) -> dict[str, Any]:
        """Return versions, device, class names, and when the run began and ended.

        Raises:
            ValueError: if this is no run folder, or the file is damaged.
        """
        return _parse_json(self._text("environment.json"), str(self.path / "environment.json"))

    def write_json(self, name: str, record: Mapping[str, Any]) -> None:
        """Replace one JSON file of the folder.

        Args:
            name: such as ``"environment.json"``.
            record: plain values.
        """
        write_atomically(self.path / name, json.dumps(record, indent=2, allow_nan=False) + "\n")

    def write_tensors(self, name: str, tensors: Mapping[str, Shaped[Tensor, "..."]]) -> None:
        """Replace one safetensors file of the folder.

        Args:
            name: such as ``"predictions.safetensors"``.
            tensors: what to store.
        """
        # Copies, because the format refuses tensors that share memory, as labels and true labels often do.
        copies = {key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}
        with replacing(self.path / name) as temporary:
            save_file(copies, temporary)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add the record of an epoch.

        Args:
            row: plain values with a ``step``.
        """
        self._append("metrics.jsonl", row)

    def append_stability(self, row: Mapping[str, Any]) -> None:
        """Add a measurement of the stability.

        Args:
            row: plain values with the ``step`` that it was made before.
        """
        self._append("stability.jsonl", row)

    def rewind(self, epoch: int, step: int) -> None:
        """Forget the records of what is still to be done, and what a killed process left half done.

        Args:
            epoch: finished epochs of the checkpoint that training goes on from. Steps would not tell of epochs: a
                checkpoint of the last step of an epoch may be older than the record of that epoch.
            step: finished steps of that checkpoint.
        """
        for leftover in (*self.path.glob(".*.tmp"), *self.path.glob("checkpoints/.*.tmp")):
            leftover.unlink()
        for after, path in (*self.snapshots().items(), *self._by_epoch("logits").items()):
            if after > epoch:
                path.unlink()
        kept = [json.dumps(row) + "\n" for row in self.metrics() if row["epoch"] <= epoch]
        write_atomically(self.path / "metrics.jsonl", "".join(kept))
        if measured := self.stability():
            kept = [json.dumps(row) + "\n" for row in measured if row["step"] < step]
            write_atomically(self.path / "stability.jsonl", "".join(kept))

    def _by_epoch(self, kind: str) -> dict[int, Path]:
        """Return the files of a kind that have the number of finished epochs in their name, in its order."""
        kept = {}
        for path in self.path.glob(f"checkpoints/{kind}*.safetensors"):
            if named := re.fullmatch(rf"{kind}(\d{{4,}})", path.stem):
                kept[int(named[1])] = path
        return dict(sorted(kept.items()))

    def _rows(self, name: str) -> list[dict[str, Any]]:
        path = self.path / name
        if not path.is_file():
            return []
        text = path.read_text(encoding="utf-8")
        # A kill while a line is appended leaves one without its end.
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [_parse_json(line, f"line {number} of {path}") for number, line in enumerate(lines, start=1)]

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        with open(self.path / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _text(self, name: str) -> str:
        path = self.path / name
        if not path.is_file():
            what = "has no" if self.path.is_dir() else "is no folder with a"
            raise ValueError(f"{self.path} {what} {name}; give the folder that `trueline train` wrote")
        return path.read_text(encoding="utf-8")


def _parse_json(text: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{where} must be a JSON object, got {type(record).__name__}")
    return record


def _read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    if not path.is_file():
        return {}
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()  # a safetensors file does not iterate
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)}
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); train the run again") from error
