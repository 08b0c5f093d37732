"""Pixel flipping of maps and of random orders beside them, on an MLP for digits and ConvNets for 32x32 images.

Both compute the same curves, the most important pixels first: that of the gradient's maps and those of two random
orders, which ``trueline.explain.deletion`` draws and Quantus is given as maps, one call each. Images have one channel,
since Quantus flips single entries. All curves must agree before anything is timed. Quantus works on batches of all
samples, or of 64, its default. Goal: five times as fast as the faster of the two.

    python benchmarks/pixel_flipping.py [--samples N [N ...]] [--device DEVICE] [--repeats N] [--out PATH]
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import quantus
import torch
from _harness import compare, write
from torch import Tensor, nn

from trueline.explain import attribute, deletion
from trueline.models import MLP, ConvNet, resnet20

CLASSES = 10
DRAWS = 2
GOAL = 5.0
CASES: dict[str, tuple[tuple[int, ...], int, Callable[[tuple[int, ...]], nn.Module]]] = {
    "MLP 64-64, 8x8, 64 steps": ((1, 8, 8), 64, lambda shape: MLP(shape, CLASSES, hidden=(64, 64))),
    "ConvNet, width 8, 32x32, 64 steps": ((1, 32, 32), 64, lambda shape: ConvNet(shape, CLASSES, width=8)),
    "ResNet-20, 32x32, 16 steps": ((1, 32, 32), 16, lambda shape: resnet20(shape, CLASSES)),
}


def ours(model: nn.Module, inputs: Tensor, maps: Tensor, target: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    found = deletion(model, inputs, maps, target, steps=steps, draws=DRAWS)
    return found.curve[:, 1:], found.control_curve[:, 1:]


def theirs(
    model: nn.Module, inputs: Tensor, orders: list[Tensor], target: Tensor, steps: int, batch: int
) -> tuple[Tensor, Tensor]:
    metric = quantus.PixelFlipping(
        features_in_step=inputs[0].numel() // steps,
        normalise=False,
        perturb_baseline=0.0,
        disable_warnings=True,
        display_progressbar=False,
    )
    curves = [
        torch.tensor(
            metric(
                model=model,
                x_batch=inputs.cpu().numpy(),
                y_batch=target.cpu().numpy(),
                a_batch=order.numpy(),
                softmax=True,
                device=str(inputs.device),
                batch_size=batch,
            ),
            dtype=torch.float64,
        )
        for order in orders
    ]
    return curves[0], torch.stack(curves[1:]).mean(dim=0)


def measured(name: str, samples: int, device: str, repeats: int) -> dict[str, object]:
    """Check and time both on one model."""
    shape, steps, make = CASES[name]
    torch.manual_seed(0)
    model = make(shape).to(device).eval()
    inputs = torch.randn(samples, *shape, device=device)
    found = attribute(model, inputs)
    target = found.target.to(device)
    generator = torch.Generator().manual_seed(0)  # the orders that deletion draws: that of ties, then the control's
    _, *drawn = [torch.randperm(found.maps[0].numel(), generator=generator) for _ in range(1 + DRAWS)]
    # Ranks in the place of attributions, so that equal ones have the same order in both.
    ranks = [found.maps.flatten(1).argsort(dim=1, descending=True).argsort(dim=1)]
    ranks += [order.argsort().expand(samples, -1) for order in drawn]
    orders = [-each.reshape(samples, *shape).double() for each in ranks]

    contestants: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        "trueline.explain.deletion": partial(ours, model, inputs, orders[0], target, steps),
        "quantus.PixelFlipping, one batch": partial(theirs, model, inputs, orders, target, steps, samples),
        "quantus.PixelFlipping, batches of 64": partial(theirs, model, inputs, orders, target, steps, 64),
    }
    if samples == 64:
        del contestants["quantus.PixelFlipping, batches of 64"]
    curves = {key: run() for key, run in contestants.items()}
    largest = max(
        float((one - other).abs().max())
        for pair in curves.values()
        for one, other in zip(pair, curves["trueline.explain.deletion"], strict=True)
    )
    assert largest <= 1e-4, f"curves of {name} differ by {largest:.2g}"

    times = compare(contestants, repeats=repeats)
    print(f"\n{name}, {samples} samples on {device}; curves differ by {largest:.1e} at most")
    for key, row in times.items():
        print(f"{key:40}{1e3 * row['median']:10.1f} ms{row['ratio']:8.2f}x")
    return {"samples": samples, "steps": steps, "times": times, "largest_difference_of_curves": largest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    rows = {
        f"{name}, {samples} samples": measured(name, samples, options.device, options.repeats)
        for samples in options.samples
        for name in CASES
    }
    payload = {
        "classes": CLASSES,
        "random_orders": DRAWS,
        "device": options.device,
        "goal": f"{GOAL:g} times as fast as the faster of Quantus' two",
        "goal_met": {
            name: min(each["ratio"] for each in list(row["times"].values())[1:]) >= GOAL for name, row in rows.items()
        },
        "models": rows,
    }
    suffix = "" if options.device == "cpu" else f"_{torch.device(options.device).type}"
    print(f"\nwritten to {write('pixel_flipping' + suffix, payload, packages=('quantus',), out=options.out)}")


if __name__ == "__main__":
    main()
