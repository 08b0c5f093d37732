"""The demonstration: one network, wrong labels, two objectives."""

from trueline.recipes._digits_run import digits_run
from trueline.train import RunConfig, with_overrides

# The usual way: normalised inputs, no augmentation, and long enough to learn wrong labels by heart.
USUAL = ("training.epochs=100", "data.normalise=train", "data.augment.noise=0.0")


def demo_runs() -> dict[str, RunConfig]:
    """Return the two runs of ``trueline demo``: 40 % wrong labels, cross-entropy and DPS with its defaults.

    Returns:
        Complete configurations by name; they differ in the objective alone.
    """
    objectives = {"cross-entropy": "cross_entropy", "dps": "dps"}
    return {
        name: with_overrides(digits_run(name, {"name": objective}, noise=0.4), USUAL)
        for name, objective in objectives.items()
    }
