"""The scores of one finished run that claims are made about."""

import torch

from trueline.calibrate import TemperatureScaling
from trueline.measure import accuracy, brier, calibration_error, confidence_gap, log_loss, soft_log_loss
from trueline.train import RunFolder


def score_run(run: RunFolder) -> dict[str, float]:
    """Return the scores of a run on its test split, against true labels.

    Args:
        run: a finished run.

    Returns:
        ``accuracy``, ``log_loss`` and ``brier`` (means), ``ece`` (15 bins of equal width), ``confidence_gap`` (mean
        confidence minus accuracy). With a calibration split, ``scaled_log_loss`` and ``scaled_ece`` after a
        temperature fitted there. With a validation split, ``forgotten``: its best accuracy over the epochs minus
        that of the last. With human label distributions, ``human_log_loss``: the cross-entropy against them. With
        beliefs, ``belief_accuracy``: share of training samples whose most believed class is the true one.
    """
    test = run.predictions("test")
    assert test is not None, "every finished run has test predictions"
    logits, labels = test.logits, test.true_labels
    scores = {
        "accuracy": accuracy(labels, logits=logits).mean().item(),
        "log_loss": log_loss(labels, logits=logits).mean().item(),
        "brier": brier(labels, logits=logits).mean().item(),
        "ece": calibration_error(labels, logits=logits).item(),
        "confidence_gap": confidence_gap(labels, logits=logits).mean().item(),
    }
    calibration = run.predictions("calibration")
    if calibration is not None:
        scaling = TemperatureScaling().fit(calibration.true_labels, logits=calibration.logits)
        scaled = scaling.transform(logits=logits)
        scores["scaled_log_loss"] = log_loss(labels, logits=scaled).mean().item()
        scores["scaled_ece"] = calibration_error(labels, logits=scaled).item()
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
