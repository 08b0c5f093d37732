"""The references of what a page used, and of what was fitted to a run."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from trueline.contracts import Fittable, Reference, facts_of, load

CALIBRATOR = "calibrator.safetensors"
"""What the fitted map is called in a run folder."""

CONFORMAL = "conformal.safetensors"
"""What the fitted thresholds are called in a run folder."""


def references_of(used: Sequence[object]) -> list[Reference]:
    """Return the references of methods, each once.

    Args:
        used: functions, classes or objects; what was not published adds nothing, what a fitted object holds counts.
    """
    return list(dict.fromkeys(reference for item in used for reference in _references(item)))


def fitted_cited(folder: Path) -> list[Reference]:
    """Return the references of the map and the thresholds that were fitted to a run, each once.

    Args:
        folder: the run folder.

    Raises:
        ValueError: if a file is not what it should be.
    """
    files = (folder / name for name in (CALIBRATOR, CONFORMAL))
    return references_of([load(file) for file in files if file.is_file()])


def _references(item: object) -> Iterator[Reference]:
    with suppress(TypeError):  # not everything was published
        yield from facts_of(item).references
    if isinstance(item, Fittable):
        for value in vars(item).values():
            if isinstance(value, Fittable):
                yield from _references(value)
