"""The demonstration: one network, wrong labels, two objectives."""

from trueline.recipes._digits_run import digits_run
from trueline.train import RunConfig


def demo_runs() -> dict[str, RunConfig]:
    """Return the two runs of ``trueline demo``: 40 % wrong labels, cross-entropy and DPS."""
    return {
        "cross-entropy": digits_run("cross-entropy", {"name": "cross_entropy"}, noise=0.4),
        "dps": digits_run("dps", {"name": "dps", "c": 10.0, "gamma": 0.9}, noise=0.4),
    }
