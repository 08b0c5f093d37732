"""Step time of objectives with a memory over plain cross-entropy, on a CIFAR ResNet-20.

Run: python benchmarks/step_time.py [--device cuda] [--repeats N]. Goal: at most 1.03 times plain cross-entropy, the
store on the training device. PyTorch's own cross-entropy in the same loop is the peer. Before timing, PS-KD's first
epoch must equal it to the bit, and DPS with an overwhelming prior to 1e-5.
"""

import argparse
from collections.abc import Callable

import torch
from _harness import compare, write
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import TargetBuilder
from trueline.models import build as build_model
from trueline.supervise import DPS, ELR, PSKD

NUM_SAMPLES, NUM_CLASSES, BATCH = 50_000, 10, 128


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--repeats", type=int, default=25)
    options = arguments.parse_args()
    device = torch.device(options.device)

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(NUM_CLASSES, (NUM_SAMPLES,), generator=generator)
    index = torch.randperm(NUM_SAMPLES, generator=generator)[:BATCH]
    inputs = torch.randn(BATCH, 3, 32, 32, generator=generator).to(device)
    index, batch_labels = index.to(device), labels[index].to(device)
    model = build_model("resnet20", input_shape=(3, 32, 32), num_classes=NUM_CLASSES).to(device)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    _check_answers(labels)
    objectives = {
        "dps": DPS(labels, NUM_CLASSES),
        "pskd": PSKD(labels, NUM_CLASSES, epochs=200),
        "elr": ELR(labels, NUM_CLASSES),
        "dps, store on the CPU": DPS(labels, NUM_CLASSES, store_on_cpu=True),
    }
    contestants: dict[str, Callable[[], object]] = {
        "cross-entropy (PyTorch)": _plain_step(model, optimiser, inputs, batch_labels)
    }
    for name, objective in objectives.items():
        contestants[name] = _step(model, optimiser, objective.to(device), inputs, batch_labels, index)
    # A second copy of the peer shows how far two equal programs differ here.
    contestants["cross-entropy again"] = _plain_step(model, optimiser, inputs, batch_labels)

    times = compare(contestants, repeats=options.repeats)
    for name, row in times.items():
        print(f"{name:28s} {1e3 * row['median']:9.2f} ms   x {row['ratio']:.3f}")
    path = write(
        f"step_time_{device.type}",
        {"model": "resnet20", "batch": BATCH, "samples": NUM_SAMPLES, "goal": "ratio <= 1.03", "seconds": times},
    )
    print(f"written to {path}")


def _check_answers(labels: Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    index = torch.randperm(NUM_SAMPLES, generator=generator)[:BATCH]
    logits = torch.randn(BATCH, NUM_CLASSES, generator=generator)
    peer = F.cross_entropy(logits, labels[index], reduction="none")
    assert torch.equal(PSKD(labels, NUM_CLASSES, epochs=2).loss(logits, labels[index], index), peer)
    heavy = DPS(labels, NUM_CLASSES, c=1e9, gamma=1.0, eps=1e-6)
    assert torch.allclose(heavy.loss(logits, labels[index], index), peer, atol=1e-5)


def _plain_step(
    model: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, labels: Tensor
) -> Callable[[], object]:
    def step() -> None:
        loss = F.cross_entropy(model(inputs), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        _finish(inputs.device)

    return step


def _step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    objective: TargetBuilder,
    inputs: Tensor,
    labels: Tensor,
    index: Tensor,
) -> Callable[[], object]:
    def step() -> None:
        logits = model(inputs)
        loss = objective.loss(logits, labels, index).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.update(index, logits)
        _finish(inputs.device)

    return step


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
