"""The pictures behind a run's predictions, read from its data set again."""

from collections.abc import Callable
from pathlib import Path

from jaxtyping import Int64, UInt8
from torch import Tensor

from trueline.subjects import subject_of_run


def pictures_of_run(path: Path, split: str) -> Callable[[Int64[Tensor, " K"]], UInt8[Tensor, "K channels H W"]] | None:
    """Return what gives the pictures of some samples of a run.

    Args:
        path: the run folder.
        split: whose samples.

    Returns:
        A function of positions; None where the inputs are no pictures, or the data set is not here any more.
    """
    try:
        examples = subject_of_run(path).parts[split]
    except (ValueError, ImportError, OSError, KeyError):  # pictures illustrate; without them the sets still stand
        return None
    return examples.pictures if examples.are_pictures else None
