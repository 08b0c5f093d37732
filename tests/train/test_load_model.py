"""The network read back gives the predictions that the run wrote."""

from pathlib import Path

import pytest
import torch

from trueline.data import Transform, digits, make_loader
from trueline.train import RunConfig, RunFolder, load_model, train

from .conftest import change


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training.average=0.9",),
        ("training.early_stopping=1", "training.epochs=4", "optimizer.learning_rate=2.0"),
        ("contrastive.weight=0.5",),
        ("model.softplus=5.0", "training.epochs=9", "training.stop_at_accuracy=0.2"),
    ],
)
def test_it_makes_the_final_predictions(config: RunConfig, overrides: tuple[str, ...], tmp_path: Path) -> None:
    run = train(change(config, *overrides), tmp_path / "run", progress=False)
    written = run.predictions("test")
    assert written is not None
    normalisation = run.environment()["normalisation"]
    transform = Transform(tuple(normalisation["mean"]), tuple(normalisation["std"]))
    test = digits().train.select(written.index)
    loader = make_loader(test, batch_size=len(test), transform=transform, device="cpu", shuffle=False)
    model = load_model(run)
    assert not model.training
    with torch.no_grad():
        logits = model(next(iter(loader.epoch(0))).inputs)
    assert torch.allclose(logits, written.logits, atol=1e-5)


def test_a_run_that_is_not_finished_is_refused(config: RunConfig, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run", progress=False)
    run.write_json("environment.json", {**run.environment(), "finished": None})
    with pytest.raises(ValueError, match="no finished run"):
        load_model(RunFolder(tmp_path / "run"))
