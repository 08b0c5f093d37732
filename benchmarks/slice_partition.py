"""The exact partition of a plane: time against the number of regions, beside a fine grid of activation patterns.

Peer: the network on a grid of 1,000 x 1,000 points of the same plane, and the distinct patterns of its units' signs.
What it finds is a lower bound of the number of regions; every pattern it finds must be that of a region of ours, which
is checked for a sample of the points: two have the same pattern exactly if they lie in the same region. SplineCam, the
published exact method, needs graph-tool, which cannot be installed from PyPI.

    python benchmarks/slice_partition.py [--side 1000] [--out PATH]
"""

import argparse
import itertools
from pathlib import Path

import torch
from _harness import Growth, compare, exponent, growth_chart, write
from torch import Tensor, nn

from trueline.probe import SlicePartition, slice_partition

WIDTHS = {
    "2-16-16": (2, 16, 16),
    "2-32-32-32": (2, 32, 32, 32),
    "2-64-64-64": (2, 64, 64, 64),
    "2-96x3": (2, 96, 96, 96),
}
CORNERS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
BLOCK = 50_000
CHECKED = 2000


class ConvNet(nn.Module):
    """Two convolutions, max-pooling and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, 10)."""
        x = torch.max_pool2d(self.first(x).relu(), 2)
        return self.head((x + self.second(x)).relu().flatten(1))


def mlp(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 3)).double()


def patterns(model: nn.Sequential, points: Tensor) -> Tensor:
    """Return a number for each point that is the same for the same signs of all units."""
    generator = torch.Generator().manual_seed(0)
    found = []
    with torch.no_grad():
        for x in points.split(BLOCK):
            number = torch.zeros(len(x), dtype=torch.int64)
            generator.manual_seed(0)
            for layer in model:
                if isinstance(layer, nn.ReLU):
                    weights = torch.randint(-(2**62), 2**62, (x.shape[1],), generator=generator)
                    number += ((x > 0) * weights).sum(dim=1)
                x = layer(x)
            found.append(number)
    return torch.cat(found)


def on_grid(model: nn.Sequential, exact: SlicePartition, side: int) -> int:
    steps = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    low, high = exact.domain.amin(dim=0), exact.domain.amax(dim=0)
    grid = low + torch.cartesian_prod(steps, steps) * (high - low)
    return len(patterns(model, exact.inputs_at(grid)).unique())


def check(model: nn.Sequential, exact: SlicePartition) -> None:
    """Two points have the same pattern exactly if they lie in the same region."""
    low, high = exact.domain.amin(dim=0), exact.domain.amax(dim=0)
    points = low + torch.rand(CHECKED, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * (
        high - low
    )
    region, pattern = exact.regions_at(points), patterns(model, exact.inputs_at(points)).unique(return_inverse=True)[1]
    pairs = len(torch.stack([region, pattern]).unique(dim=1)[0])
    if not pairs == len(region.unique()) == len(pattern.unique()):
        raise AssertionError(f"{len(region.unique())} regions, {len(pattern.unique())} patterns, {pairs} pairs")
    if abs(exact.area.sum().item() / (high - low).prod().item() - 1) > 1e-12:
        raise AssertionError("the areas do not sum to the domain's")


def measured(name: str, model: nn.Sequential, side: int) -> dict[str, object]:
    exact = slice_partition(model, CORNERS)
    check(model, exact)
    times = compare(
        {"slice_partition": lambda: slice_partition(model, CORNERS), "grid": lambda: on_grid(model, exact, side)},
        repeats=3,
    )
    regions, seen = len(exact.area), on_grid(model, exact, side)
    print(
        f"{name:14}{regions:8,} regions in {times['slice_partition']['median']:.3f} s; the grid finds {seen:,} in "
        f"{times['grid']['median']:.2f} s, {times['grid']['ratio']:.1f} times as long"
    )
    return {"regions": regions, "patterns_on_grid": seen, "missed_by_grid": regions - seen, "times": times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1000, help="points along each side of the grid")
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    torch.manual_seed(0)
    rows = {name: measured(name, mlp(widths), options.side) for name, widths in WIDTHS.items()}
    points = [{"size": row["regions"], "seconds": row["times"]["slice_partition"]["median"]} for row in rows.values()]
    slope = exponent([point["size"] for point in points], [point["seconds"] for point in points])
    print(f"time grows with the number of regions to the power {slope:.2f}")

    images = ConvNet().double()
    corners = 0.01 * torch.randn(3, 3, 8, 8, dtype=torch.float64)
    times = compare({"slice_partition": lambda: slice_partition(images, corners)}, repeats=3)
    regions = len(slice_partition(images, corners).area)
    print(f"ConvNet       {regions:8,} regions in {times['slice_partition']['median']:.3f} s")
    grown: dict[str, Growth] = {"regions of the plane": {"exponent": slope, "points": points}}
    payload = {
        "grid": f"{options.side} x {options.side}",
        "growth": grown,
        "networks": rows,
        "convnet": {"regions": regions, "times": times},
    }
    path = write("slice_partition", payload, out=options.out)
    print(f"written to {path} and {growth_chart(grown, path.with_suffix('.svg'), 'seconds')}")


if __name__ == "__main__":
    main()
