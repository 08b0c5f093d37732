"""The trained network of a run."""

from pathlib import Path

from trueline.models import Classifier, WithProjection
from trueline.train._checkpoint import read_checkpoint
from trueline.train._config_file import load_config
from trueline.train._run_folder import RunFolder
from trueline.train._session import make_network


def load_model(run: RunFolder, *, epoch: int | None = None) -> Classifier:
    """Return the network that made a run's final predictions, or that of an epoch, in evaluation mode on the CPU.

    The final ones are the last weights, or their running mean with ``training.average``, or with
    ``training.early_stopping`` those of the best epoch. Those of an epoch in ``training.snapshots`` are the weights
    after it, or their running mean. The network takes inputs normalised as ``run.environment()["normalisation"]`` says.

    Args:
        run: a finished run; with ``epoch`` it may still be under way.
        epoch: finished epochs, 0 for the initial weights; the final network by default.

    Returns:
        The network, without projection head.

    Raises:
        ValueError: if the run is not finished, or kept no weights of the epoch, or its files are damaged.
    """
    if epoch is None and not run.is_finished():
        raise ValueError(f"{run.path} holds no finished run; go on with: trueline train {run.path}")
    config, facts = load_config(run.path / "config.toml"), run.environment()
    final = run.best_checkpoint if config.training.early_stopping else run.last_checkpoint
    checkpoint = read_checkpoint(final if epoch is None else _kept(run, epoch))
    network = make_network(config, facts["input_shape"], len(facts["class_names"]))
    if config.training.average is None:
        weights = checkpoint.part("model")
    else:
        weights = {
            name.removeprefix("module."): value
            for name, value in checkpoint.part("average").items()
            if name.startswith("module.")
        }
    network.load_state_dict(weights)
    network.eval()
    inner = network.model if isinstance(network, WithProjection) else network
    assert isinstance(inner, Classifier)
    return inner


def _kept(run: RunFolder, epoch: int) -> Path:
    kept = run.snapshots()
    if epoch not in kept:
        listed = ", ".join(map(str, kept)) or "none"
        raise ValueError(
            f"{run.path} keeps no weights after epoch {epoch}; kept: {listed}. List epochs in [training] snapshots "
            "before a run begins"
        )
    return kept[epoch]
