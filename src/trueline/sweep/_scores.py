"""What a sweep notes about a finished run unless it is told otherwise."""

from trueline.measure import mean_scores
from trueline.train import RunFolder, score_run


def sweep_scores(run: RunFolder) -> dict[str, float]:
    """Return the test scores of a run, and how well it fits what it was trained on.

    Args:
        run: a finished run.

    Returns:
        Those of :func:`trueline.train.score_run`, and ``train_accuracy`` and ``train_log_loss``: means over the
        training split against the labels that were given, with the final weights and no augmentation.
    """
    train = run.predictions("train")
    assert train is not None, "every finished run has training predictions"
    fit = mean_scores(train.labels, logits=train.logits)
    return score_run(run) | {f"train_{key}": fit[key] for key in ("accuracy", "log_loss")}
