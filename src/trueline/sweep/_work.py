"""One run of a sweep, wherever it is executed: trained, or gone on with, or read, and scored."""

import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trueline.contracts import write_atomically
from trueline.train import Interrupted, RunConfig, RunFolder, train

FAILURE = "failure.txt"
Score = Callable[[RunFolder], Mapping[str, float]]


@dataclass(frozen=True)
class Task:
    """What has to be done for one run.

    Args:
        name: of the run.
        config: what to train.
        folder: the run folder, as an absolute path.
        score: what to note about the finished run.
    """

    name: str
    config: RunConfig
    folder: Path
    score: Score


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Args:
        name: of the run.
        scores: of a finished run; None for a failed one.
        error: one line about a failed run, else None.
    """

    name: str
    scores: dict[str, float] | None
    error: str | None = None


class Stopped(RuntimeError):  # noqa: N818  not an error: somebody asked for it
    """An executor was asked to stop, and every run under way is saved.

    Args:
        signum: the signal that asked.
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signum)


def work(task: Task) -> Outcome:
    """Finish one run and score it; an error of any kind becomes a failed outcome and a file in the run folder.

    Args:
        task: the run.

    Returns:
        Its scores, or its error.

    Raises:
        Interrupted: if the process is asked to stop, once a checkpoint is written.
    """
    (task.folder / FAILURE).unlink(missing_ok=True)
    try:
        run = train(task.config, task.folder, resume=True, progress=False)
        scores = {key: float(value) for key, value in task.score(run).items()}
        for key, value in scores.items():
            if not math.isfinite(value):
                raise ValueError(f"the score '{key}' must be finite, got {value}")
    except Interrupted:
        raise
    except Exception as error:
        return failed(task, f"{type(error).__name__}: {error}", traceback.format_exc())
    return Outcome(task.name, scores)


def failed(task: Task, error: str, details: str = "") -> Outcome:
    """Note in the run folder why a run failed.

    Args:
        task: the run.
        error: what happened.
        details: a traceback, if there is one.

    Returns:
        The outcome.
    """
    write_atomically(task.folder / FAILURE, details or f"{error}\n")
    return Outcome(task.name, None, " ".join(error.split()))
