"""Predictions of a run that this library trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from trueline.contracts import unknown_name
from trueline.predictions._assemble import Parts, assemble
from trueline.predictions._prediction_set import PredictionSet
from trueline.predictions._stored_array import TensorArray
from trueline.train import Pictures, RunFolder

SPLITS = ("test", "calibration", "validation", "train")


def read_run_predictions(path: Path, *, split: str | None, name: str) -> PredictionSet:
    """Read the final predictions of a run on one split, judged by the true labels.

    Args:
        path: the run folder.
        split: ``"test"``, ``"calibration"``, ``"validation"`` or ``"train"``; None for ``"test"``.
        name: what a reader calls the model.

    Returns:
        The set; its held-out samples are those of ``calibration``, or of ``validation`` without it.

    Raises:
        ValueError: if the folder is no finished run, or has no such split.
    """
    if not (path / "predictions.safetensors").is_file():
        if (path / "config.toml").is_file():
            raise ValueError("this run has no predictions yet; finish it with `trueline train`")
        raise ValueError("this folder is no run, it has no predictions.safetensors; give a run folder or a file")
    if split is not None and split not in SPLITS:
        raise ValueError(unknown_name("split", split, dict.fromkeys(SPLITS)))
    run = RunFolder(path)
    chosen = split or "test"
    held = next((other for other in ("calibration", "validation") if other != chosen and run.predictions(other)), None)
    apart = None if held is None else _of_split(run, held, name, None)
    return _of_split(run, chosen, name, apart)


def _of_split(run: RunFolder, split: str, name: str, held_out: PredictionSet | None) -> PredictionSet:
    found = run.predictions(split)
    if found is None:
        raise ValueError(f"this run has no {split} samples; choose another split, or train with some")
    notes = []
    wrong = int((found.labels != found.true_labels).sum())
    if wrong:
        notes.append(f"The true labels are used; {wrong:,} of {len(found.labels):,} samples were given another one.")
    if held_out is not None:
        notes.append(f"As held-out samples serve the {held_out.source}.")
    parts = Parts(found.true_labels.numpy(), "logits", TensorArray("logits", found.logits), notes=tuple(notes))
    assembled = assemble(
        parts,
        name=name,
        source=f"{split} samples of the run {run.path.name}",
        class_names=run.environment().get("class_names"),
        held_out=held_out,
    )
    pictures = run.mistakes() if split == "test" else None
    return assembled if pictures is None else replace(assembled, images=_pictured(pictures))


def _pictured(kept: Pictures) -> Callable[[Int64[Tensor, " K"]], UInt8[Tensor, "K channels H W"]]:
    """Return the pictures of the surest mistakes, the only ones that a run keeps."""
    place = {position: i for i, position in enumerate(kept.positions.tolist())}

    def images(rows: Int64[Tensor, " K"]) -> UInt8[Tensor, "K channels H W"]:
        if missing := [row for row in rows.tolist() if row not in place]:
            raise ValueError(f"the run kept pictures of its surest mistakes only, and none of sample {missing[0]}")
        return kept.images[torch.tensor([place[row] for row in rows.tolist()], dtype=torch.int64)]

    return images
