"""The curvature-tuning unit: forward, forward with backward, and memory kept, at several sizes.

Peer: the published two-branch expression in plain PyTorch, ``c·x·sigmoid(βx/t) + (1 - c)·t·softplus(x/t)`` with ``t`` a
millionth above ``1 - β``. ReLU and SiLU are timed beside it, to say how far they are. Values and gradients must agree
before anything is timed. Goals: forward with backward 4 times as fast, and half the memory kept for the gradient.

    python benchmarks/curvature_unit.py [--full] [--compiled] [--device DEVICE] [--out PATH]

``--full`` adds 100 million entries, for which the peer needs about 4 GB; ``--compiled`` adds what ``torch.compile``
makes of ours and of the expression, which on a CPU needs a C++ compiler.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _harness import compare, write
from torch import Tensor
from torch.nn import functional as F

from trueline.steer import curvature_unit

BETA, MIX = 0.9, 0.5
SIZES = {"CIFAR feature map, 128 x 16 x 32 x 32": 128 * 16 * 32 * 32, "16 million": 16_000_000}
GOAL = 4.0


def expression(x: Tensor) -> Tensor:
    t = 1 - BETA + 1e-6
    return MIX * torch.sigmoid(BETA * x / t) * x + (1 - MIX) * F.softplus(x / t, threshold=20) * t


CONTESTANTS: dict[str, Callable[[Tensor], Tensor]] = {
    "trueline.steer.curvature_unit": lambda x: curvature_unit(x, BETA, MIX),
    "two-branch expression": expression,
    "ReLU": F.relu,
    "SiLU": F.silu,
}


def trained(unit: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Tensor:
    x.grad = None
    unit(x).backward(grad)
    if x.is_cuda:
        torch.cuda.synchronize()
    return x.grad


def applied(unit: Callable[[Tensor], Tensor], x: Tensor) -> None:
    with torch.no_grad():
        unit(x)
    if x.is_cuda:
        torch.cuda.synchronize()


def bytes_kept(unit: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes of distinct tensors that autograd keeps beside the input."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = unit(x)
    del result
    return sum(size for place, size in kept.items() if place != x.data_ptr())


def measured(
    name: str, size: int, device: str, contestants: dict[str, Callable[[Tensor], Tensor]]
) -> dict[str, object]:
    """Check and time all contestants at one size."""
    x, grad = torch.randn(size, device=device, requires_grad=True), torch.randn(size, device=device)
    ours, peer, *_ = contestants.values()
    torch.testing.assert_close(ours(x), peer(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained(ours, x, grad).clone(), trained(peer, x, grad), rtol=1e-4, atol=1e-4)
    both = compare({key: partial(trained, unit, x, grad) for key, unit in contestants.items()})
    forward = compare({key: partial(applied, unit, x) for key, unit in contestants.items()})
    kept = {key: bytes_kept(unit, x) for key, unit in contestants.items()}
    print(f"\n{name}, {size:,} entries on {device}")
    print(f"{'':32}{'forward':>12}{'with backward':>22}{'kept beside x':>16}")
    for key in contestants:
        times = f"{1e3 * forward[key]['median']:9.1f} ms{1e3 * both[key]['median']:11.1f} ms"
        print(f"{key:32}{times}{both[key]['ratio']:7.2f}x{kept[key] / 1e6:12.1f} MB")
    return {"entries": size, "forward": forward, "forward_and_backward": both, "bytes_kept": kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="100 million entries too")
    parser.add_argument("--compiled", action="store_true", help="what torch.compile makes of them too")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    sizes = SIZES | ({"100 million": 100_000_000} if options.full else {})
    contestants = CONTESTANTS
    if options.compiled:
        contestants = CONTESTANTS | {
            f"{name}, compiled": torch.compile(CONTESTANTS[name], dynamic=False) for name in list(CONTESTANTS)[:2]
        }
    rows = {name: measured(name, size, options.device, contestants) for name, size in sizes.items()}
    payload = {
        "beta": BETA,
        "mix": MIX,
        "device": options.device,
        "goal": f"forward with backward {GOAL:g} times as fast as the expression, half the memory kept",
        "goal_met": all(row["forward_and_backward"]["two-branch expression"]["ratio"] >= GOAL for row in rows.values()),
        "sizes": rows,
    }
    suffix = "" if options.device == "cpu" else f"_{torch.device(options.device).type}"
    name = "curvature_unit" + ("_compiled" if options.compiled else "") + suffix
    print(f"\nwritten to {write(name, payload, out=options.out)}")


if __name__ == "__main__":
    main()
