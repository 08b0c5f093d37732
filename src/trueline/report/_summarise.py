"""Run folders to the numbers of a report."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from trueline.measure import Evaluation
from trueline.report._score import compare, difference, score, shown
from trueline.report._summary import BeliefCounts, RunSummary, Summary, Temperature
from trueline.supervise import OBJECTIVES
from trueline.train import Predictions, RunFolder


def summarise(folders: Sequence[RunFolder]) -> Summary:
    """Compute all numbers of a report.

    Args:
        folders: the runs; others are compared with the first.

    Returns:
        The summary that verdict and tables are written from.

    Raises:
        ValueError: if a run has no test predictions.
    """
    labels = _labels([folder.config() for folder in folders])
    runs, before, after = [], [], []
    for label, folder in zip(labels, folders, strict=True):
        run, scored, tempered = _summarise_one(label, folder)
        runs.append(run)
        before.append(scored)
        after.append(tempered)
    comparisons = compare(labels, before, after) if _same_samples(folders) else ()
    return Summary(tuple(runs), comparisons)


def count_beliefs(
    beliefs: Float[Tensor, "N C"], labels: Int64[Tensor, " N"], true_labels: Int64[Tensor, " N"]
) -> BeliefCounts:
    """Count where the beliefs about the training labels ended.

    Args:
        beliefs: (N, C) belief of each training sample.
        labels: (N,) given labels.
        true_labels: (N,) true labels.

    Returns:
        The counts.
    """
    believed = beliefs.argmax(dim=1)
    wrong = labels != true_labels
    return BeliefCounts(
        wrong_labels=int(wrong.sum()),
        right_labels=int((~wrong).sum()),
        corrected=int((wrong & (believed == true_labels)).sum()),
        moved_astray=int((wrong & (believed != true_labels) & (believed != labels)).sum()),
        kept_wrong=int((wrong & (believed == labels)).sum()),
        left_right=int((~wrong & (believed != labels)).sum()),
    )


def read_test(folder: RunFolder) -> Predictions:
    """Return a run's test predictions.

    Args:
        folder: the run.

    Returns:
        Logits and labels of the test split.

    Raises:
        ValueError: if there are none.
    """
    predictions = folder.predictions("test")
    if predictions is None:
        raise ValueError(f"{folder.path} holds no test predictions; a report needs a finished run with a test split")
    return predictions


def _summarise_one(label: str, folder: RunFolder) -> tuple[RunSummary, Evaluation, Evaluation | None]:
    test, train, beliefs = read_test(folder), folder.predictions("train"), folder.beliefs()
    if beliefs and train and len(beliefs.beliefs) != len(train.labels):
        raise ValueError(
            f"{folder.path} holds {len(beliefs.beliefs)} beliefs and {len(train.labels)} training labels; "
            "do both files come from the same run?"
        )
    scored, tempered, temperature = score(test.logits, test.true_labels), None, None
    if fitted := folder.calibration():
        held_out = folder.predictions(fitted["fitted_on"])
        tempered = score(test.logits.double() / fitted["temperature"], test.true_labels)
        temperature = Temperature(
            value=fitted["temperature"],
            samples=fitted["samples"],
            wrong_labels=None if held_out is None else int((held_out.labels != held_out.true_labels).sum()),
            scores=shown(tempered),
            change=difference(tempered, scored),
        )
    run = RunSummary(
        label=label,
        scores=shown(scored),
        train_samples=None if train is None else len(train.labels),
        wrong_labels=None if train is None else int((train.labels != train.true_labels).sum()),
        temperature=temperature,
        beliefs=count_beliefs(beliefs.beliefs, train.labels, train.true_labels) if beliefs and train else None,
    )
    return run, scored, tempered


def _same_samples(folders: Sequence[RunFolder]) -> bool:
    first, *others = (read_test(folder) for folder in folders)
    return all(first.index.equal(other.index) and first.true_labels.equal(other.true_labels) for other in others)


def _labels(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Call the runs by their objectives if these differ, else by their names, numbered where they repeat."""
    names = [_objective(config) for config in configs]
    if len(set(names)) < len(names):
        names = [config.get("name") or "run" for config in configs]
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _objective(config: dict[str, Any]) -> str:
    name: str = config.get("objective", {}).get("name", "run")
    public = getattr(OBJECTIVES[name], "__name__", name) if name in OBJECTIVES else name
    return public if public.isupper() else name.replace("_", "-")
