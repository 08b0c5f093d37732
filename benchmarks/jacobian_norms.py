"""Spectral and Frobenius norms of the Jacobian of each sample, on an MLP, a ConvNet and ResNet-20 with 10 classes.

Peers form the same Jacobian and take the same norms of it: a loop over the classes with a forward and a backward pass
each, which is how it is written first; the loop with one forward pass and a retained graph; and
``torch.func.vmap(jacrev)``. Parameters require gradients there, as they do in a trained model. All norms must agree
before anything is timed. Goal: three times as fast as the first loop.

    python benchmarks/jacobian_norms.py [--samples N [N ...]] [--device DEVICE] [--out PATH]
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _harness import compare, write
from torch import Tensor, nn

from trueline.models import MLP, ConvNet, resnet20
from trueline.probe import input_jacobian_norm

CLASSES = 10
SHAPE = (3, 32, 32)
GOAL = 3.0
MODELS: dict[str, Callable[[], nn.Module]] = {
    "MLP, 512-512": lambda: MLP(SHAPE, CLASSES, hidden=(512, 512)),
    "ConvNet, width 16": lambda: ConvNet(SHAPE, CLASSES, width=16),
    "ResNet-20": lambda: resnet20(SHAPE, CLASSES),
}


def norms(rows: Tensor) -> tuple[Tensor, Tensor]:
    rows = rows.flatten(2).double()
    products = rows @ rows.mT
    return torch.linalg.eigvalsh(products)[:, -1].clamp(min=0).sqrt(), rows.flatten(1).norm(dim=1)


def loop(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    rows = []
    for k in range(CLASSES):
        x = inputs.clone().requires_grad_()
        rows.append(torch.autograd.grad(model(x)[:, k].sum(), x)[0])
    return norms(torch.stack(rows, dim=1))


def retained(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    x = inputs.clone().requires_grad_()
    outputs = model(x)
    rows = [torch.autograd.grad(outputs[:, k].sum(), x, retain_graph=True)[0] for k in range(CLASSES)]
    return norms(torch.stack(rows, dim=1))


def functional(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return norms(torch.func.vmap(torch.func.jacrev(lambda x: model(x[None])[0]))(inputs))


def ours(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    record = input_jacobian_norm(model, inputs)
    return record.spectral, record.frobenius


CONTESTANTS: dict[str, Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]] = {
    "trueline.probe.input_jacobian_norm": ours,
    "loop, a forward pass for each class": loop,
    "loop, one retained graph": retained,
    "vmap(jacrev)": functional,
}


def measured(name: str, samples: int, device: str) -> dict[str, object]:
    """Check and time all contestants on one model."""
    torch.manual_seed(0)
    model = MODELS[name]().to(device).eval()
    inputs = torch.randn(samples, *SHAPE, device=device)
    found = {key: run(model, inputs) for key, run in CONTESTANTS.items()}
    apart = {}
    for key, pair in found.items():
        differences = [
            ((a.cpu() - b).abs() / b).sort().values
            for a, b in zip(pair, found["trueline.probe.input_jacobian_norm"], strict=True)
        ]
        # Where a ReLU or a maximum is within rounding of its kink, either side may be taken.
        apart[key] = sum(int((difference > 1e-4).sum()) for difference in differences)
        assert apart[key] <= 0.02 * 2 * samples + 1, f"{key} differs at {apart[key]} norms of {name}"

    def timed(run: Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]) -> None:
        run(model, inputs)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()

    times = compare({key: partial(timed, run) for key, run in CONTESTANTS.items()}, repeats=3)
    print(f"\n{name}, {samples} samples on {device}")
    for key, row in times.items():
        print(f"{key:40}{1e3 * row['median']:10.1f} ms{row['ratio']:8.2f}x{apart[key]:5} of {2 * samples} norms apart")
    return {"samples": samples, "times": times, "norms_more_than_a_ten_thousandth_apart": apart}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    rows = {
        f"{name}, {samples} samples": measured(name, samples, options.device)
        for samples in options.samples
        for name in MODELS
    }
    peer = list(CONTESTANTS)[1]
    payload = {
        "classes": CLASSES,
        "device": options.device,
        "goal": f"{GOAL:g} times as fast as a loop with a forward and a backward pass for each class",
        "goal_met": {name: row["times"][peer]["ratio"] >= GOAL for name, row in rows.items()},
        "models": rows,
    }
    suffix = "" if options.device == "cpu" else f"_{torch.device(options.device).type}"
    print(f"\nwritten to {write('jacobian_norms' + suffix, payload, out=options.out)}")


if __name__ == "__main__":
    main()
