"""All regions on a segment against sampling and against the march from region to region, and how the cost grows.

Peers, written as one would write them first: 10,000 samples whose activation patterns are compared, neighbour by
neighbour; and the march, one forward pass with a derivative a region, to the nearest root of all pre-activations. All
three run in double precision. The boundaries of the march must be ours; sampling must never find a change of pattern
where we have no boundary, and what it misses is counted. One segment at a time, and for the small MLP also 64 in one
call against the peers' loop over them. Then the time of ours alone is measured against the number of regions, the
width, the depth and the size of the input, with exponents fitted on a log-log scale and drawn.

    python benchmarks/trace_segment.py [--repeats 5] [--parts single together growth] [--out PATH]
"""

import argparse
import copy
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from _harness import Growth, compare, exponent, growth_chart, write
from torch import Tensor, nn

from trueline.models import MLP, ConvNet, resnet20
from trueline.probe import trace_segment

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from oracles.marching import marching_breakpoints

SAMPLES = 10_000
GOALS = {"sampling": 40.0, "marching": 20.0}
BATCH = 500
PARTS = ("single", "together", "growth")


def sampled_changes(model: nn.Module, start: Tensor, end: Tensor) -> Tensor:
    """Return the t between which the pattern of ReLU and max-pooling changes."""
    patterns: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.ReLU):
            patterns[-1] = torch.cat([patterns[-1], (inputs[0] > 0).flatten(1)], dim=1)

    handles = [module.register_forward_hook(keep) for module in model.modules() if isinstance(module, nn.ReLU)]
    t = torch.linspace(0, 1, SAMPLES, dtype=torch.float64)
    changed = []
    last = None
    with torch.no_grad():
        for part in t.split(BATCH):
            patterns.append(torch.empty(len(part), 0, dtype=torch.bool))
            model(start + part.view(-1, *[1] * start.ndim) * (end - start))
            pattern = patterns.pop()
            whole = pattern if last is None else torch.cat([last, pattern])
            changed.append((whole[1:] != whole[:-1]).any(dim=1))
            last = pattern[-1:]
    for handle in handles:
        handle.remove()
    return torch.cat(changed)


def segment_with(model: nn.Module, shape: tuple[int, ...], regions: int) -> tuple[Tensor, Tensor]:
    """Return a segment with about so many regions: too short and too long ones enclose its length."""
    generator = torch.Generator().manual_seed(0)
    start, direction = (torch.randn(shape, generator=generator) for _ in range(2))
    length, short, long = 0.1, 0.0, math.inf
    for _ in range(30):
        found = int(trace_segment(model, start[None], (start + length * direction)[None]).crossings)
        if 0.8 * regions <= found <= 1.25 * regions:
            break
        if found < regions:
            short = length
        else:
            long = length
        length = (
            min(2 * length, (short * long) ** 0.5) if short and math.isfinite(long) else length * (2 if short else 0.5)
        )
    return start, start + length * direction


def measured(name: str, model: nn.Module, shape: tuple[int, ...], regions: int, repeats: int) -> dict[str, object]:
    start, end = segment_with(model, shape, regions)
    wide = copy.deepcopy(model).double()
    found: dict[str, Tensor] = {}
    contestants: dict[str, Callable[[], object]] = {
        "trueline.probe.trace_segment": lambda: found.update(ours=trace_segment(model, start[None], end[None]).t),
        "sampling": lambda: found.update(sampling=sampled_changes(wide, start.double(), end.double())),
        "marching": lambda: found.update(
            marching=torch.tensor(marching_breakpoints(wide, start, end), dtype=torch.float64)
        ),
    }
    times = compare(contestants, repeats=repeats)
    kinks = found["ours"][1:-1]
    counts = torch.bincount((kinks * (SAMPLES - 1)).long(), minlength=SAMPLES - 1)
    if (found["sampling"] & (counts == 0)).any():
        raise AssertionError(f"{name}: sampling sees a change of pattern where there is no boundary")
    pooled = any("Max" in type(module).__name__ for module in model.modules())
    gap = None
    if not pooled:  # the march knows ReLU alone
        if len(kinks) != len(found["marching"]):
            raise AssertionError(f"{name}: {len(kinks)} boundaries against {len(found['marching'])} of the march")
        gap = float((kinks - found["marching"]).abs().max())
    ratios = {peer: times[peer]["ratio"] for peer in GOALS}
    print(
        f"{name}: {len(kinks)} boundaries in {1e3 * times['trueline.probe.trace_segment']['median']:.1f} ms; sampling "
        f"{ratios['sampling']:.0f} times as long (sees {int(found['sampling'].sum())}), marching "
        f"{ratios['marching']:.0f} times"
    )
    return {
        "boundaries": len(kinks),
        "changes_seen_by_sampling": int(found["sampling"].sum()),
        "boundaries_of_the_march": len(found["marching"]),
        "largest_difference_from_the_march": gap,
        "times": times,
        "goal_met": {peer: ratios[peer] >= goal for peer, goal in GOALS.items()},
    }


def measured_together(model: nn.Module, shape: tuple[int, ...], regions: int, segments: int) -> dict[str, object]:
    """Trace many segments in one call against the loop over them."""
    wide = copy.deepcopy(model).double()
    start, end = segment_with(model, shape, regions)
    length = float((end - start).norm())
    generator = torch.Generator().manual_seed(1)
    starts, directions = (torch.randn(segments, *shape, generator=generator) for _ in range(2))
    ends = starts + length * directions / directions.flatten(1).norm(dim=1).view(-1, *[1] * len(shape))
    found: dict[str, list[int]] = {}

    def ours() -> None:
        found["ours"] = trace_segment(model, starts, ends).crossings.tolist()

    def sampling() -> None:
        pairs = zip(starts.double(), ends.double(), strict=True)
        found["sampling"] = [int(sampled_changes(wide, *pair).sum()) for pair in pairs]

    def marching() -> None:
        found["marching"] = [len(marching_breakpoints(wide, *pair)) for pair in zip(starts, ends, strict=True)]

    times = compare({"trueline.probe.trace_segment": ours, "sampling": sampling, "marching": marching}, repeats=1)
    if found["ours"] != found["marching"]:
        raise AssertionError("the march finds other boundaries on some segment")
    ratios = {peer: times[peer]["ratio"] for peer in GOALS}
    print(
        f"{segments} segments of {sum(found['ours']) / segments:.0f} boundaries in one call, "
        f"{1e3 * times['trueline.probe.trace_segment']['median'] / segments:.2f} ms each; sampling "
        f"{ratios['sampling']:.0f} times as long, marching {ratios['marching']:.0f} times"
    )
    return {
        "segments": segments,
        "boundaries": sum(found["ours"]),
        "changes_seen_by_sampling": sum(found["sampling"]),
        "boundaries_of_the_march": sum(found["marching"]),
        "times": times,
        "goal_met": {peer: ratios[peer] >= goal for peer, goal in GOALS.items()},
    }


def seconds(model: nn.Module, start: Tensor, end: Tensor, repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        trace_segment(model, start[None], end[None])
        times.append(time.perf_counter() - began)
    return sorted(times[1:])[len(times[1:]) // 2]


def growth(repeats: int) -> dict[str, Growth]:
    """Measure the time against one size after the other."""
    rows: dict[str, list[tuple[float, int, float]]] = {}

    def add(name: str, size: float, model: nn.Module, start: Tensor, end: Tensor) -> None:
        kinks = int(trace_segment(model, start[None], end[None]).crossings)
        rows.setdefault(name, []).append((size, kinks, seconds(model, start, end, repeats)))

    torch.manual_seed(0)
    fixed = MLP((64,), 10, hidden=(512, 512, 512)).eval()
    for regions in (50, 100, 200, 400, 800):
        ends = segment_with(fixed, (64,), regions)
        kinks = int(trace_segment(fixed, ends[0][None], ends[1][None]).crossings)
        add("regions (MLP 64-512-512-512)", kinks, fixed, *ends)
    for width in (128, 256, 512, 1024, 2048):
        model = MLP((64,), 10, hidden=(width, width)).eval()
        add("width (MLP of two layers, 200 regions)", width, model, *segment_with(model, (64,), 200))
    for depth in (1, 2, 4, 8, 16):
        model = MLP((64,), 10, hidden=(256,) * depth).eval()
        add("depth (MLP of width 256, 200 regions)", depth, model, *segment_with(model, (64,), 200))
    for side in (8, 16, 32, 64):
        model = ConvNet((3, side, side), 10, width=8).eval()
        add("pixels (ConvNet of width 8, 200 regions)", side * side, model, *segment_with(model, (3, side, side), 200))
    found: dict[str, Growth] = {}
    for name, points in rows.items():
        slope = exponent([size for size, _, _ in points], [spent for _, _, spent in points])
        print(f"time against {name}: exponent {slope:.2f}; {[f'{1e3 * spent:.0f} ms' for _, _, spent in points]}")
        found[name] = {
            "exponent": slope,
            "points": [dict(zip(("size", "boundaries", "seconds"), p, strict=True)) for p in points],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the largest networks take long")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".torch.jit.script. is deprecated")

    torch.manual_seed(0)
    image = (3, 32, 32)
    rows = {}
    if "single" in options.parts:
        # Ten thousand images in double precision take minutes, so that larger networks have fewer rounds.
        for name, make, shape, sizes, repeats in (
            ("MLP 64-256-256-10", lambda: MLP((64,), 10, hidden=(256, 256)), (64,), (30, 100, 300), options.repeats),
            ("ConvNet of width 16, images of 32x32", lambda: ConvNet(image, 10, width=16), image, (30, 100), 1),
            ("ResNet-20, images of 32x32", lambda: resnet20(image, 10), image, (100,), 1),
        ):
            for regions in sizes:
                rows[f"{name}, {regions} regions"] = measured(name, make().eval(), shape, regions, repeats)
    if "together" in options.parts:
        small = MLP((64,), 10, hidden=(256, 256)).eval()
        rows["MLP 64-256-256-10, 64 segments of 100 regions"] = measured_together(small, (64,), 100, 64)
    payload: dict[str, object] = {
        "samples": SAMPLES,
        "goals": {peer: f"{goal:g} times as fast" for peer, goal in GOALS.items()},
        "networks": rows,
    }
    if "growth" in options.parts:
        payload["growth"] = growth(options.repeats)
    path = write("trace_segment", payload, out=options.out)
    print(f"written to {path}")
    if "growth" in payload:
        print(f"and {growth_chart(payload['growth'], path.with_suffix('.svg'), 'seconds a segment')}")


if __name__ == "__main__":
    main()
