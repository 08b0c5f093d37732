"""What the verbs that fit something to saved predictions share: other samples to fit to, and where results go."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trueline.predictions import PredictionSet


def with_held_out(predictions: Path, held_out: Path | None, split: str | None, name: str | None) -> "PredictionSet":
    """Read predictions to judge on, with those to fit to.

    Args:
        predictions: file or run folder; a run brings its calibration samples along.
        held_out: file with predictions on other samples; None for those that come along, if any.
        split: which split of files that hold several.
        name: what a reader calls the model.

    Raises:
        ValueError: if a file is not what it should be, or the two do not fit each other.
    """
    from trueline.predictions import read_predictions

    read = read_predictions(predictions, split=split, name=name)
    return read if held_out is None else replace(read, held_out=read_predictions(held_out))


def default_file(predictions: Path, name: str) -> Path:
    """Return where a result goes: into a run folder, else into the folder that the command is run in.

    Args:
        predictions: what was read.
        name: of the result.
    """
    return predictions / name if predictions.is_dir() else Path(name)
