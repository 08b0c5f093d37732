"""The results of a run, from its final weights."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.calibrate import TemperatureScaling
from trueline.contracts import read_hits
from trueline.data import Examples
from trueline.train._checkpoint import read_checkpoint
from trueline.train._environment import utc_now
from trueline.train._run_folder import RunFolder
from trueline.train._session import Session

SHOWN_IMAGES = 200


def write_results(run: RunFolder, session: Session) -> None:
    """Write predictions, beliefs and calibration, and mark the run as finished.

    Args:
        run: where to write; holds the last checkpoint.
        session: the trained session; with early stopping it goes back to the best epoch.
    """
    main = session.accelerator.is_main_process
    if session.config.training.early_stopping is not None:
        session.restore(read_checkpoint(run.best_checkpoint))
    elif main and not run.best_checkpoint.exists():
        read_checkpoint(run.last_checkpoint).save(run.best_checkpoint)  # without validation the last is the best
    network = session.evaluated()
    logits = {name: evaluator.logits(network) for name, evaluator in session.evaluators.items()}
    if not main:
        return
    tensors: dict[str, Tensor] = {}
    for name, values in logits.items():
        tensors |= _predictions(name, session.evaluators[name].examples, values)
    run.write_tensors("predictions.safetensors", tensors)
    beliefs = session.objective.beliefs()
    if beliefs is not None:
        run.write_tensors("beliefs.safetensors", _beliefs(session.splits.train, beliefs))
    test = session.splits.test
    positions = _mistakes(test, logits["test"])
    if len(positions):
        run.write_tensors("mistakes.safetensors", {"images": test.pictures(positions), "positions": positions})
    if "calibration" in logits:
        labels = session.splits.calibration.true_labels
        scaling = TemperatureScaling().fit(labels, logits=logits["calibration"])
        record = {"method": "TemperatureScaling", "temperature": scaling.temperature_}
        run.write_json("calibration.json", {**record, "fitted_on": "calibration", "samples": len(labels)})
    run.write_json("environment.json", {**run.environment(), "finished": utc_now()})


def _predictions(name: str, examples: Examples, logits: Tensor) -> dict[str, Tensor]:
    tensors = {
        "logits": logits,
        "labels": examples.labels,
        "true_labels": examples.true_labels,
        "index": examples.source_index,
    }
    if examples.soft_labels is not None:
        tensors["soft_labels"] = examples.soft_labels
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def _beliefs(train: Examples, beliefs: Float[Tensor, "N C"]) -> dict[str, Tensor]:
    weight, believed = beliefs.max(dim=1)
    positions = _surest(train, believed != train.labels, weight)
    return {"beliefs": beliefs, "images": train.pictures(positions), "positions": positions}


def _mistakes(test: Examples, logits: Float[Tensor, "N C"]) -> Int64[Tensor, " K"]:
    confidence, hits = read_hits(test.true_labels, logits=logits)
    return _surest(test, ~hits, confidence)


def _surest(examples: Examples, chosen: Bool[Tensor, " N"], weight: Float[Tensor, " N"]) -> Int64[Tensor, " K"]:
    """Return the chosen samples of the largest weights; none where the inputs are no pictures."""
    if not examples.are_pictures:
        return torch.zeros(0, dtype=torch.int64)
    found = chosen.nonzero().squeeze(1)
    return found[weight[found].argsort(descending=True, stable=True)][:SHOWN_IMAGES]
