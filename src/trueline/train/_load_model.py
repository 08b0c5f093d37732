"""The trained network of a run."""

from trueline.models import Classifier, WithProjection
from trueline.train._checkpoint import read_checkpoint
from trueline.train._config_file import load_config
from trueline.train._run_folder import RunFolder
from trueline.train._session import make_network


def load_model(run: RunFolder) -> Classifier:
    """Return the network that made a run's final predictions, in evaluation mode on the CPU.

    Those are the last weights, or their running mean with ``training.average``, or with ``training.early_stopping``
    those of the best epoch. The network takes inputs normalised as ``run.environment()["normalisation"]`` says.

    Args:
        run: a finished run.

    Returns:
        The network, without projection head.

    Raises:
        ValueError: if the run is not finished, or its files are damaged.
    """
    if not run.is_finished():
        raise ValueError(f"{run.path} holds no finished run; go on with: trueline train {run.path}")
    config, facts = load_config(run.path / "config.toml"), run.environment()
    training = config.training
    checkpoint = read_checkpoint(run.best_checkpoint if training.early_stopping else run.last_checkpoint)
    network = make_network(config, facts["input_shape"], len(facts["class_names"]))
    if training.average is None:
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
