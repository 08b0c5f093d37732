"""Auto-PGD on the cross-entropy against foolbox's PGD at an equal number of steps: robust accuracy and time.

Model: the trained CIFAR ResNet-20 with its normalisation inside, on the first test images, so that the numbers need the
shared data. Foolbox's ``LinfPGD`` and our ``pgd`` get the same steps of ``2.5·radius/steps`` and a random start;
Auto-PGD chooses its own. Before timing, every point is checked to be within the radius and [0, 1], and the robust
accuracies of the two PGDs must agree within 2 points. Goals: Auto-PGD leaves no more samples right than foolbox, in
less time.

    python benchmarks/apgd.py [--images N] [--steps N] [--out PATH]
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import foolbox
import torch
from _harness import compare, write
from safetensors.torch import load_file
from torch import Tensor, nn

from trueline.data import cifar10
from trueline.models import Normalized, resnet20
from trueline.robustness import apgd_ce, pgd

RADII = {"1/255": 1 / 255, "2/255": 2 / 255}
AGREEMENT = 0.02
ROUNDING = 1e-6  # foolbox clips in single precision
REPEATS = 3


def load(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    folder = Path(os.environ.get("TRUELINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        raise SystemExit(
            f"needs the trained weights of the shared data folder; set TRUELINE_DATA ({folder} is missing)"
        )
    network = resnet20((3, 32, 32), 10)
    network.load_state_dict(load_file(folder / "models" / "cifar10-resnet20.safetensors"))
    test = cifar10(folder / "cifar10", shards=(0,)).test
    model = Normalized(network, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    return model, test.inputs[:count].float() / 255, test.labels[:count]


def foolbox_pgd(model: nn.Module, images: Tensor, labels: Tensor, radius: float, steps: int) -> Tensor:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=2.5 * radius / steps, steps=steps, random_start=True)
    _, found, _ = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=radius)
    return found


def robust_accuracy(model: nn.Module, found: Tensor, images: Tensor, labels: Tensor, radius: float) -> float:
    """Share of samples that are right on the points found, after a check of the points."""
    far = (found.double() - images.double()).abs().amax().item()
    if far > radius + ROUNDING or found.amin() < 0 or found.amax() > 1:
        raise SystemExit(f"an attack left its ball: {far} for a radius of {radius}")
    with torch.inference_mode():
        return (model(found).argmax(dim=1) == labels).double().mean().item()


def measured(name: str, radius: float, model: nn.Module, images: Tensor, labels: Tensor, steps: int) -> dict[str, Any]:
    """Check and time all contestants at one radius."""
    contestants: dict[str, Callable[[], Tensor]] = {
        "trueline.robustness.apgd_ce": partial(apgd_ce, model, images, labels, radius=radius, steps=steps),
        "trueline.robustness.pgd": partial(pgd, model, images, labels, radius=radius, steps=steps),
        "foolbox.attacks.LinfPGD": partial(foolbox_pgd, model, images, labels, radius, steps),
    }
    torch.manual_seed(0)  # foolbox draws from the global state
    right = {who: robust_accuracy(model, run(), images, labels, radius) for who, run in contestants.items()}
    ours, same, peer = right.values()
    if abs(same - peer) > AGREEMENT:
        raise SystemExit(f"radius {name}: robust accuracies {right} of the same method differ; nothing was timed")
    times = compare(contestants, repeats=REPEATS)
    print(f"\nradius {name}, {len(images)} images, {steps} steps")
    print(f"{'':32}{'robust accuracy':>16}{'seconds':>10}{'time by':>10}")
    for who, row in times.items():
        print(f"{who:32}{100 * right[who]:14.1f} %{row['median']:10.1f}{row['ratio']:9.2f}x")
    met = ours <= peer and times["foolbox.attacks.LinfPGD"]["ratio"] > 1
    return {"goal_met": met, "robust_accuracy": right, "seconds": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    model, images, labels = load(options.images)
    with torch.inference_mode():
        clean = (model(images).argmax(dim=1) == labels).double().mean().item()
    rows = {name: measured(name, radius, model, images, labels, options.steps) for name, radius in RADII.items()}
    payload = {
        "goal": "no more samples right after Auto-PGD than after foolbox's PGD of as many steps, in less time",
        "goal_met": all(row["goal_met"] for row in rows.values()),
        "images": options.images,
        "steps": options.steps,
        "clean_accuracy": clean,
        "radii": rows,
    }
    print(f"\nwritten to {write('apgd', payload, packages=('foolbox',), out=options.out)}")


if __name__ == "__main__":
    main()
