"""Local Lipschitz and max-sensitivity of the gradient against Quantus, on the same perturbations.

Quantus asks a function for its perturbations; it is given ours, so that values can be matched, and maps are compared as
they are (``normalise=False``: its default divides by the largest entry of the whole batch, so that the value of a
sample depends on the others). It explains once through captum, as its documentation does, and once by a plain
gradient, so that captum's share can be told. Models: an MLP and a ConvNet on images, and an MLP on rows of a table.
Both measures must agree to four digits before anything is timed. Goal: three times as fast as Quantus through captum.

    python benchmarks/attribution_stability.py [--samples N] [--draws N] [--repeats N] [--out PATH]
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch
from _harness import compare, write
from torch import Tensor, nn

from trueline.explain import local_lipschitz, max_sensitivity
from trueline.models import MLP, ConvNet

GOAL = 3.0
SIZE = 0.1  # of a perturbation
MODELS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "MLP, a table of 30 columns": ((30,), lambda: MLP((30,), 2, hidden=(64, 64))),
    "MLP, digits": ((1, 8, 8), lambda: MLP((1, 8, 8), 10, hidden=(64, 64))),
    "ConvNet, CIFAR-10 images": ((3, 32, 32), lambda: ConvNet((3, 32, 32), 10, width=16)),
}
MEASURES: dict[str, tuple[Any, Any]] = {
    "local Lipschitz": (partial(local_lipschitz, spread=SIZE), quantus.LocalLipschitzEstimate),
    "max-sensitivity": (partial(max_sensitivity, radius=SIZE), quantus.MaxSensitivity),
}


def plain_gradient(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
    points = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_()
    chosen = model(points).gather(1, torch.as_tensor(targets)[:, None].long()).sum()
    return torch.autograd.grad(chosen, points)[0].numpy()


def through_captum(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
    points = torch.as_tensor(np.asarray(inputs), dtype=torch.float32)
    saliency = quantus.functions.explanation_func.explain(
        model, points, targets, method="Gradient", xai_lib="captum", reduce_axes=()
    )
    return np.asarray(saliency)


def theirs(metric: Any, explain: Any, model: nn.Module, inputs: Tensor, target: Tensor, noise: np.ndarray) -> Tensor:
    """Return Quantus's values on our perturbations."""
    draws = iter(noise)

    def perturb(arr: np.ndarray, **_: Any) -> np.ndarray:  # images come as rows
        return arr + next(draws).reshape(arr.shape[1:])

    measure = metric(
        nr_samples=len(noise),
        normalise=False,
        perturb_func=perturb,
        disable_warnings=True,
        display_progressbar=False,
    )
    found = measure(
        model=model,
        x_batch=inputs.numpy(),
        y_batch=target.numpy(),
        explain_func=explain,
        explain_func_kwargs={},
        batch_size=len(inputs),
    )
    return torch.tensor(np.asarray(found, dtype=np.float64))


def perturbations(name: str, draws: int, inputs: Tensor) -> np.ndarray:
    """Return what ours draws by default."""
    generator = torch.Generator().manual_seed(0)
    shape = (draws, *inputs.shape[1:])
    if name == "local Lipschitz":
        return (SIZE * torch.randn(shape, generator=generator, dtype=torch.float64)).float().numpy()
    return (SIZE * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)).float().numpy()


def measured(name: str, kind: str, samples: int, draws: int, repeats: int) -> dict[str, Any]:
    """Check and time one measure on one model."""
    shape, make = MODELS[kind]
    torch.manual_seed(0)
    model = make().eval()
    inputs = torch.randn(samples, *shape)
    target = model(inputs).argmax(dim=1)
    mine, metric = MEASURES[name]
    noise = perturbations(name, draws, inputs)
    contestants: dict[str, Callable[[], Any]] = {
        f"trueline.explain.{mine.func.__name__}": partial(mine, model, inputs, target, draws=draws),
        "quantus, captum": partial(theirs, metric, through_captum, model, inputs, target, noise),
        "quantus, plain gradient": partial(theirs, metric, plain_gradient, model, inputs, target, noise),
    }
    found = {who: run() for who, run in contestants.items()}
    record = found.pop(next(iter(contestants)))
    ours = record.lipschitz if name == "local Lipschitz" else record.sensitivity
    for who, values in found.items():
        # Where a ReLU is within rounding of its kink, either side may be taken.
        apart = int(((values - ours).abs() > 1e-4 * ours).sum())
        if apart > 0.02 * samples:
            raise SystemExit(f"{who} differs from ours at {apart} of {samples} samples of {kind}; nothing was timed")
    times = compare(contestants, repeats=repeats)
    print(f"\n{name}, {kind}, {samples} samples, {draws} draws")
    for who, row in times.items():
        print(f"{who:40}{1e3 * row['median']:10.1f} ms{row['ratio']:8.2f}x")
    return {"goal_met": times["quantus, captum"]["ratio"] >= GOAL, "times": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)  # Quantus and captum warn of their own settings

    rows = {
        f"{name}, {kind}": measured(name, kind, options.samples, options.draws, options.repeats)
        for name in MEASURES
        for kind in MODELS
    }
    payload = {
        "goal": f"{GOAL:g} times as fast as Quantus through captum, with the same values",
        "goal_met": {name: row["goal_met"] for name, row in rows.items()},
        "samples": options.samples,
        "draws": options.draws,
        "rows": rows,
    }
    path = write("attribution_stability", payload, packages=("quantus", "captum"), out=options.out)
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
