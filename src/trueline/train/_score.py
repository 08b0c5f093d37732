"""The scores of one finished run."""

import torch

from trueline.measure import mean_scores, soft_log_loss
from trueline.train._run_folder import RunFolder


def score_run(run: RunFolder) -> dict[str, float]:
    """Return the scores of a run on its test split, against true labels.

    Args:
        run: a finished run.

    Returns:
        ``accuracy``, ``log_loss`` and ``brier`` (means), ``ece`` (15 bins of equal width), ``confidence_gap`` (mean
        confidence minus accuracy). With a calibration split, ``scaled_log_loss`` and ``scaled_ece`` with the
        temperature fitted there. With a validation split, ``forgotten``: its best accuracy over the epochs minus
        that of the last. With human label distributions, ``human_log_loss``: the cross-entropy against them. With
        beliefs, ``belief_accuracy``: share of training samples whose most believed class is the true one.
    """
    test = run.predictions("test")
    assert test is not None, "every finished run has test predictions"
    logits, labels = test.logits, test.true_labels
    scores = mean_scores(labels, logits=logits)
    calibration = run.calibration()
    if calibration is not None:
        scaled = logits / calibration["temperature"]
        after = mean_scores(labels, logits=scaled)
        scores |= {"scaled_log_loss": after["log_loss"], "scaled_ece": after["ece"]}
    curve = [row["validation"]["accuracy"] for row in run.metrics() if "validation" in row]
    if curve:
        scores["forgotten"] = max(curve) - curve[-1]
    if test.soft_labels is not None:
        scores["human_log_loss"] = soft_log_loss(test.soft_labels, logits=logits).mean().item()
        if calibration is not None:
            scores["human_log_loss_scaled"] = soft_log_loss(test.soft_labels, logits=scaled).mean().item()
    beliefs, training = run.beliefs(), run.predictions("train")
    if beliefs is not None and training is not None:
        hits = beliefs.beliefs.argmax(dim=1) == training.true_labels
        scores["belief_accuracy"] = hits.to(torch.float64).mean().item()
    return scores
