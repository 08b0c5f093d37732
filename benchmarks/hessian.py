"""Hessian products and 16-probe traces of the loss in the weights against curvlinops.

Models: an MLP 64-128-128-10 on 1,000 random inputs of 64 entries, a ConvNet and a ResNet-20 on images of 3x32x32. Both
get the same chunks; ours builds its graph outside the timed product, as one matrix is multiplied many times, and
the time of building it is reported beside. Curvlinops' check for determinism is switched off. A trace is timed whole,
building included, with the same 16 sign vectors. Before timing, products and traces must agree. Goals: 1.5 times
faster for products, 2.5 times for traces.

    python benchmarks/hessian.py [--images N] [--repeats N] [--models NAME ...] [--out PATH]
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _harness import compare, write
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.models import MLP, ConvNet, resnet20
from trueline.probe._loss_hessian import LossHessian

warnings.simplefilter("ignore")  # the peer is older than some of PyTorch's deprecations
from curvlinops import HessianLinearOperator  # noqa: E402

PROBES = 16
GOALS = {"product": 1.5, "trace": 2.5}
AGREEMENT = 1e-4  # relative, single precision
KEEP = 8 * 1024**3


def case(name: str, images: int) -> tuple[nn.Module, Tensor, Tensor, int]:
    """Return a model, its inputs and labels, and the size of a chunk."""
    torch.manual_seed(0)
    if name == "mlp":
        return MLP((64,), 10, hidden=(128, 128)), torch.randn(1000, 64), torch.randint(0, 10, (1000,)), 1000
    inputs, labels = torch.randn(images, 3, 32, 32), torch.randint(0, 10, (images,))
    model = ConvNet((3, 32, 32), 10, width=16) if name == "convnet" else resnet20((3, 32, 32), 10)
    with torch.no_grad():  # running statistics that keep the signal as it is
        model.train()
        for _ in range(30):
            model(inputs[:100])
    return model, inputs, labels, 50


def agree(name: str, ours: Tensor, theirs: Tensor) -> float:
    """Return the relative difference, or end."""
    gap = ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()
    if gap > AGREEMENT:
        raise SystemExit(f"{name}: answers differ by {gap:.2g}; nothing was timed")
    return gap


def measured(name: str, images: int, repeats: int) -> dict[str, Any]:
    model, inputs, labels, chunk = case(name, images)
    model.eval()
    weights = list(model.parameters())
    data = list(zip(inputs.split(chunk), labels.split(chunk), strict=True))

    def build() -> LossHessian:
        return LossHessian(model, inputs, labels, chunk_size=chunk, keep_bytes=KEEP)

    kept = build()
    peer = HessianLinearOperator(model, nn.CrossEntropyLoss(), weights, data, check_deterministic=False)
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(kept.shape[0], generator=generator)
    signs = torch.randint(0, 2, (kept.shape[0], PROBES), generator=generator).float() * 2 - 1

    def our_trace() -> Tensor:
        return (signs.double() * build().matmat(signs.double())).sum(dim=0).mean()

    def their_trace() -> Tensor:
        return torch.einsum("ij,ij", signs, peer @ signs) / PROBES

    def gradient() -> None:
        for rows, classes in data:
            torch.autograd.grad(F.cross_entropy(model(rows), classes, reduction="sum") / len(inputs), weights)

    gap = agree(f"{name}, product", kept.matvec(vector.double()), peer @ vector)
    agree(f"{name}, trace", our_trace().reshape(1), their_trace().detach().reshape(1))
    tasks: dict[str, dict[str, Callable[[], object]]] = {
        "product": {
            "trueline.probe.LossHessian": lambda: kept.matvec(vector.double()),
            "curvlinops.HessianLinearOperator": lambda: peer @ vector,
            "gradient": gradient,
            "building the graph": build,
        },
        "trace": {"trueline.probe.LossHessian": our_trace, "curvlinops.HessianLinearOperator": their_trace},
    }
    row: dict[str, Any] = {"weights": kept.shape[0], "samples": len(inputs), "chunk": chunk, "difference": gap}
    for task, contestants in tasks.items():
        times = compare(contestants, repeats=repeats if task == "product" else max(repeats // 2, 2))
        ratio = times["curvlinops.HessianLinearOperator"]["ratio"]
        row[task] = {"goal_met": ratio >= GOALS[task], "seconds": times}
        print(f"\n{name}, {task}: {ratio:.2f} times faster (goal {GOALS[task]})", flush=True)
        for who, each in times.items():
            print(f"  {who:36}{each['median']:10.4f} s{each['ratio']:9.2f}x", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=["mlp", "convnet", "resnet20"])
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    rows = {name: measured(name, options.images, options.repeats) for name in options.models}
    payload = {
        "goal": "products 1.5 times and 16-probe traces 2.5 times faster than curvlinops, equal answers",
        "goal_met": all(row[task]["goal_met"] for row in rows.values() for task in GOALS),
        "models": rows,
    }
    print(f"\nwritten to {write('hessian', payload, packages=('curvlinops-for-pytorch',), out=options.out)}")


if __name__ == "__main__":
    main()
