"""The model and the samples that a command line names."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trueline.subjects import Subject


def subject_named(
    model: str, data: str | None, inputs: Path | None, *, halves: bool = True, seed: int = 0
) -> "Subject":
    """Return the model that a command line names, with its samples.

    Args:
        model: a run folder, or ``"package.module:factory"``.
        data: ``"package.module:name"`` of a data set, for a model of the user's own.
        inputs: a file with inputs and labels, likewise.
        halves: whether half of the samples of a model of the user's own are kept to make choices on.
        seed: chooses the halves.

    Raises:
        ValueError: if the names lead nowhere, or do not go together.
    """
    from trueline.data import arrays, user_dataset
    from trueline.subjects import load_factory, subject_of_model, subject_of_run

    if Path(model).is_dir():
        if data is not None or inputs is not None:
            raise ValueError("a run brings its own data; leave out --data and --inputs")
        return subject_of_run(Path(model))
    if ":" not in model:
        raise ValueError(f"there is no run folder {model}; a model of your own is named 'package.module:factory'")
    network = load_factory(model)
    if (data is None) == (inputs is None):
        raise ValueError(
            "a model of your own needs samples: give one of --data 'package.module:name' and --inputs FILE"
        )
    source = user_dataset(data) if data is not None else arrays(inputs or Path())
    named = {"model": model, "data": data if data is not None else str(inputs)}
    held_out = source.train if source.test is None else source.test
    return subject_of_model(network, held_out, name=model, halves=halves, seed=seed, source=named)
