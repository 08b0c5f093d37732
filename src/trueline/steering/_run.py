"""A steered run on disk: its predictions, what steering changed, and the page that says so."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import write_atomically
from trueline.steering._boundary import boundary_of
from trueline.steering._findings import find
from trueline.steering._options import SteeringOptions
from trueline.steering._page import steering_page
from trueline.steering._record import SteeringFindings
from trueline.steering._references import is_steered, references_of
from trueline.steering._twin import Twins
from trueline.steering._verdict import steering_verdict
from trueline.subjects import (
    SPLITS,
    STEERED_RECORD,
    Subject,
    inputs_of,
    path_from,
    subject_of_run,
)
from trueline.train import RunFolder

PAGE = "steering.html"


@dataclass(frozen=True, eq=False)
class SteeredRun:
    """A folder that :func:`steer_run` wrote.

    Args:
        path: the folder.
        findings: everything that was found.
        model: the steered model, in evaluation mode; it takes uint8 inputs in [0, 1].
    """

    path: Path
    findings: SteeringFindings
    model: nn.Module = field(repr=False)

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.path / PAGE

    def to_dict(self) -> dict[str, Any]:
        """Return what ``steering.json`` holds."""
        return _record(self.findings)


def steer_run(
    subject: Subject,
    out: Path,
    options: SteeringOptions | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SteeredRun:
    """Steer a model, judge it on samples that no choice was made on, and write a folder about it.

    The folder holds ``predictions.safetensors`` of the steered model on every split, which ``trueline audit`` reads;
    ``steering.json`` with β, the options, the curve of every measure over β where it was chosen, values, intervals and
    paired differences on test samples, and the audit of every activation before and after; and the page
    ``steering.html``. Weights are not copied: :func:`load_steered` steers those of the run that the file names.

    Args:
        subject: of :func:`subject_of_run` or :func:`subject_of_model`.
        out: the folder; an earlier steered run there is replaced.
        options: how to steer; the defaults of :class:`SteeringOptions` if None.
        progress: receives how often a sample has passed through the model, and about how often it will in all.

    Returns:
        The folder, the findings and the steered model.

    Raises:
        ValueError: if nothing in the model can be steered (the message holds the audit), an option does not fit the
            model or the samples, or ``out`` holds something else.
        ImportError: if the ``report`` extra is not installed.

    Cost:
        A forward pass over the samples to choose on for each β; at most nine times the few attacked samples, with 10
        steps of attack and 10 Hessian-vector products; a forward pass over every split.
    """
    asked = SteeringOptions() if options is None else options
    _check_place(out, subject)
    found, logits, twins = find(subject, asked, progress)
    if subject.run is not None:
        found = replace(found, source=dict(found.source) | {"run": path_from(out, subject.run.path)})
    page = steering_page(found, boundary_of(subject, found, twins))
    _write(RunFolder(out), subject, found, logits, page)
    return SteeredRun(out, found, twins.at(found.beta))


def load_steered(path: Path) -> nn.Module:
    """Return the steered model of a folder that was made from a run, in evaluation mode.

    Args:
        path: the folder.

    Returns:
        The twin, from inputs (uint8 ones in [0, 1]) to logits; its normalisation is inside.

    Raises:
        ValueError: if this is no steered run, or it was not made from a run folder, whose weights are needed.
    """
    file = path / STEERED_RECORD
    if not file.is_file():
        raise ValueError(f"{path} has no {STEERED_RECORD}; give the folder that `trueline steer` wrote")
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    source = record["source"].get("run")
    if source is None:
        raise ValueError(
            f"{path} was not made from a run folder, so its weights are only in your own code; "
            f"steer(model, {record['beta']!r}, ...) with the options in {STEERED_RECORD} makes the same twin"
        )
    subject = subject_of_run(path / source)
    return Twins(subject, SteeringOptions.from_dict(record["options"]), inputs_of(subject.parts[subject.chooser])).at(
        record["beta"]
    )


def _check_place(out: Path, subject: Subject) -> None:
    if subject.run is not None and out.resolve() == subject.run.path.resolve():
        raise ValueError(f"{out} is the run itself, which stays as it is; choose another folder")
    if out.is_dir() and any(out.iterdir()) and not is_steered(out):
        raise ValueError(f"{out} holds something that is no steered run; choose another folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; choose a folder")


def _write(
    folder: RunFolder,
    subject: Subject,
    found: SteeringFindings,
    logits: Mapping[str, Float[Tensor, "N C"]],
    page: str,
) -> None:
    """Write every file as a whole, and last the one that says that all are there."""
    classes = next(iter(logits.values())).shape[1]
    names = [*subject.class_names, *map(str, range(len(subject.class_names), classes))]
    about = {**found.versions, "class_names": names, "input_shape": list(subject.input_shape)}
    folder.write_json(STEERED_RECORD, _record(found))
    folder.write_json("environment.json", about)
    tensors: dict[str, Tensor] = {}
    for split in SPLITS:
        if split in logits:
            examples = subject.parts[split]
            tensors |= {
                f"{split}.logits": logits[split],
                f"{split}.labels": examples.labels,
                f"{split}.true_labels": examples.true_labels,
                f"{split}.index": examples.source_index,
            }
            if examples.soft_labels is not None:
                tensors[f"{split}.soft_labels"] = examples.soft_labels
    folder.write_tensors("predictions.safetensors", tensors)
    write_atomically(folder.path / PAGE, page)
    finished = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    folder.write_json("environment.json", {**about, "finished": finished})


def _record(found: SteeringFindings) -> dict[str, Any]:
    references = [asdict(reference) for reference in references_of(found)]
    return {"verdict": list(steering_verdict(found)), **found.to_dict(), "references": references}
