"""The search for β against 31 separate passes and fits, for two networks whose features go to another task.

Peer: for every β a copy of the network in which every ReLU module is the published two-branch expression, one pass over
the training and validation images, and one linear head by ``torch.optim.Adam``; written as one would write it first.
Both choose among the same 31 values by the same protocol (20 epochs, batches of 32); features and validation scores
must agree before the times are reported. Goal: 3 times as fast.

    python benchmarks/search_beta.py [--samples 600] [--out PATH]
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from _harness import compare, write
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.data import load
from trueline.models import MLP, resnet20
from trueline.steer import BETA_GRID, search_beta_for_transfer

GOAL = 3.0
EPOCHS, BATCH = 20, 32


class Expression(nn.Module):
    """The published unit, as plain operations."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        """Apply both branches, or ReLU at 1."""
        if self.beta == 1:
            return F.relu(x)
        t = 1 - self.beta + 1e-6
        return 0.5 * torch.sigmoid(self.beta * x / t) * x + 0.5 * F.softplus(x / t, threshold=20) * t


def with_expression(model: nn.Module, beta: float) -> nn.Module:
    steered = copy.deepcopy(model)
    for module in list(steered.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(module, name, Expression(beta))
    return steered


def one_after_another(model: nn.Module, data: dict[str, Tensor]) -> dict[float, float]:
    scores = {}
    for beta in BETA_GRID:
        steered = with_expression(model, beta)
        with torch.no_grad():
            train, val = (
                torch.cat([steered.features(part) for part in data[name].split(256)])
                for name in ("inputs", "val_inputs")
            )
        scores[beta] = fit_one(train, data["labels"], val, data["val_labels"])
    return scores


def fit_one(features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> float:
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(features.shape[1], 10)
    nn.init.kaiming_uniform_(head.weight, a=5**0.5, generator=generator)
    nn.init.uniform_(head.bias, -(features.shape[1] ** -0.5), features.shape[1] ** -0.5, generator=generator)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    steps = -(-len(features) // BATCH)
    best = 0.0
    for epoch in range(EPOCHS):
        order = torch.randperm(len(features), generator=generator)
        for step, index in enumerate(order.split(BATCH), start=epoch * steps):
            optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, step / steps) * (0.1 if epoch >= EPOCHS // 2 else 1.0)
            loss = F.cross_entropy(head(features[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            best = max(best, float((head(val_features).argmax(dim=1) == val_labels).double().mean()))
    return best


def ours(model: nn.Module, data: dict[str, Tensor], seen: dict[float, float]) -> None:
    found = search_beta_for_transfer(
        model, **data, num_classes=10, head="linear" if hasattr(model, "linear") else "classifier"
    )
    seen.update(zip(found.betas, found.values, strict=True))


def digits(samples: int, size: int | None) -> dict[str, Tensor]:
    """Real digits: 8x8 and flat, or enlarged to images of three channels."""
    source = load("digits")
    inputs = torch.stack([torch.as_tensor(source.train.inputs[i]) for i in range(samples + samples // 2)]).float()
    inputs = inputs / inputs.max()
    if size is not None:
        inputs = (
            F.interpolate(inputs.reshape(-1, 1, 8, 8), size=size, mode="bilinear").expand(-1, 3, -1, -1).contiguous()
        )
    labels = source.train.labels[: len(inputs)]
    return {
        "inputs": inputs[:samples],
        "labels": labels[:samples],
        "val_inputs": inputs[samples:],
        "val_labels": labels[samples:],
    }


def measured(name: str, model: nn.Module, data: dict[str, Tensor], repeats: int) -> dict[str, object]:
    found: dict[float, float] = {}
    peer: dict[float, float] = {}
    contestants: dict[str, Callable[[], object]] = {
        "trueline.steer.search_beta_for_transfer": partial(ours, model, data, found),
        "31 separate passes and fits": lambda: peer.update(one_after_another(model, data)),
    }
    times = compare(contestants, repeats=repeats)
    # One validation sample may fall on the other side by rounding.
    gap = max(abs(found[beta] - peer[beta]) for beta in BETA_GRID)
    if gap > 2 / len(data["val_labels"]):
        raise AssertionError(f"{name}: validation scores differ by up to {gap}")
    ratio = times["31 separate passes and fits"]["ratio"]
    seconds = [times[key]["median"] for key in contestants]
    print(f"{name}: {seconds[0]:.2f} s against {seconds[1]:.2f} s, {ratio:.1f} times as fast; scores within {gap:.4f}")
    return {"times": times, "ratio": ratio, "largest_difference_of_scores": gap}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=600, help="training samples; half as many to validate on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="another file for the result")
    options = parser.parse_args()

    torch.manual_seed(0)
    rows = {
        "MLP 64-256-128 on 8x8 digits": measured(
            "MLP", MLP((1, 8, 8), 10, hidden=(256, 128)).eval(), digits(options.samples, None), options.repeats
        ),
        "ResNet-20 on digits of 32x32": measured(
            "ResNet-20", resnet20((3, 32, 32), 10).eval(), digits(options.samples, 32), options.repeats
        ),
    }
    payload = {
        "samples": options.samples,
        "goal": f"{GOAL:g} times as fast",
        "goal_met": {name: row["ratio"] >= GOAL for name, row in rows.items()},
        "networks": rows,
    }
    print(f"written to {write('search_beta', payload, out=options.out)}")


if __name__ == "__main__":
    main()
