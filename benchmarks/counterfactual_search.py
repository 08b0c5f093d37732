"""Counterfactual search: all examples at once, beside the same search one example after another.

Peer: the same algorithm in torch for a single example, as published code runs it: its gradient by autograd, the k
nearest examples of the target class by ``torch.cdist`` and ``topk``, the projection, and a stop at the flip. Both must
flip the same examples in the same number of steps and end at the same points.

    python benchmarks/counterfactual_search.py [--examples 1000] [--reference 2000] [--repeats 3] [--out PATH]
"""

import argparse
from pathlib import Path

import torch
from _harness import compare, write
from torch import Tensor, nn

from trueline.counterfactual import LocalSupport, find_counterfactuals

DIMENSIONS, CLASSES, K = 64, 10, 20
STEP, RADIUS, STEPS, WEIGHT = 0.02, 1.0, 300, 2.0


def clusters(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return overlapping clusters (N, D) and their classes."""
    centres = torch.randn(CLASSES, DIMENSIONS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(count, DIMENSIONS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    labels = torch.arange(count) % CLASSES
    return centres[labels] + noise, labels


def heads() -> dict[str, nn.Module]:
    """Return the heads that are searched."""
    centres = torch.randn(CLASSES, DIMENSIONS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    linear = nn.Linear(DIMENSIONS, CLASSES, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(centres)
        linear.bias.copy_(-centres.square().sum(dim=1) / 2)
    torch.manual_seed(0)
    hidden, last = nn.Linear(DIMENSIONS, 64, dtype=torch.float64), nn.Linear(64, CLASSES, dtype=torch.float64)
    mlp = nn.Sequential(hidden, nn.Tanh(), last)
    return {"linear": linear, "mlp": mlp}


def one(head: nn.Module, start: Tensor, pools: list[Tensor], scale: float) -> tuple[Tensor, int]:
    """Return the end of the search from one example, and its steps."""
    z = start
    point = z.detach().requires_grad_()
    logits = head(point)
    first, target = logits.detach().topk(2).indices.tolist()
    others = torch.ones(len(logits), dtype=torch.bool)
    others[target] = False
    pool, best, highest = pools[target], z, (logits[target] - logits[others].max()).item()
    for step in range(1, STEPS + 1):
        (gradient,) = torch.autograd.grad(logits[target] - logits[first], point)
        near = pool[torch.cdist(z[None], pool)[0].topk(K, largest=False).indices]
        way = gradient / gradient.norm() + WEIGHT / scale * (near.mean(dim=0) - z)
        move = STEP * scale * way / way.norm().clamp_min(1)
        moved = z + move
        length = (moved - start).norm()
        outside = bool(length > RADIUS * scale)
        if outside:
            moved = start + (moved - start) * (RADIUS * scale / length)
        still = outside and bool((moved - z).norm() <= 1e-3 * move.norm())
        z = moved
        point = z.detach().requires_grad_()
        logits = head(point)
        shown = logits.detach()
        margin = (shown[target] - shown[others].max()).item()
        if margin > highest:
            best, highest = z, margin
        if int(shown.argmax()) == target:
            return z, step
        if still:
            break
    return best, step


def loop(head: nn.Module, z: Tensor, pools: list[Tensor], scale: float) -> tuple[Tensor, Tensor]:
    """Return ends and steps of all examples, one after another."""
    for parameter in head.parameters():
        parameter.requires_grad_(False)
    found = [one(head, start, pools, scale) for start in z]
    return torch.stack([end for end, _ in found]), torch.tensor([steps for _, steps in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=1000, help="examples to explain")
    parser.add_argument("--reference", type=int, default=2000, help="reference examples")
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    reference, labels = clusters(options.reference, 1)
    z, _ = clusters(options.examples, 2)
    support = LocalSupport(reference, labels, k=K)
    pools = [reference[labels == c] for c in range(CLASSES)]
    settings = {"step": STEP, "radius": RADIUS, "steps": STEPS, "support_weight": WEIGHT}
    rows = {}
    for name, head in heads().items():
        found = find_counterfactuals(head, z, support, **settings)
        ends, steps = loop(head, z, pools, support.scale)
        gap = (ends - found.end).abs().max().item()
        if not (torch.equal(steps, found.steps) and gap < 1e-6):
            raise AssertionError(f"{name}: ends differ by {gap:.3g}, steps for {int((steps != found.steps).sum())}")
        times = compare(
            {
                "batched": lambda head=head: find_counterfactuals(head, z, support, **settings),
                "loop": lambda head=head: loop(head, z, pools, support.scale),
            },
            repeats=options.repeats,
        )
        print(
            f"{name:8}{found.success_rate.value:7.1%} flipped in {found.steps.double().mean():.1f} steps on average: "
            f"{times['batched']['median']:.2f} s, one after another {times['loop']['median']:.2f} s, "
            f"{times['loop']['ratio']:.1f} times as long; ends differ by at most {gap:.1e}"
        )
        rows[name] = {"success": found.success_rate.value, "steps": int(found.steps.sum()), "gap": gap, "times": times}
    payload = {"examples": options.examples, "reference": options.reference, "dimensions": DIMENSIONS, "heads": rows}
    print(f"written to {write('counterfactual_search', payload, out=options.out)}")


if __name__ == "__main__":
    main()
