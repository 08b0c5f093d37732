import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from trueline.train._checkpoint import (
    Checkpoint,
    check_same_config,
    optimizer_tensors,
    read_checkpoint,
    restore_optimizer,
)

OPTIMIZERS = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "plain": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
}


def test_tensors_and_facts_come_back_to_the_bit(tmp_path: Path, generator: torch.Generator) -> None:
    weight = torch.randn(3, 2, generator=generator)
    facts = {"best": 0.1 + 0.2, "epoch": 3, "config": {"name": "x"}}
    Checkpoint({"model": {"a/b.weight": weight.T, "n": torch.tensor(3)}, "none": {}}, facts).save(tmp_path / "c")
    again = read_checkpoint(tmp_path / "c")
    assert torch.equal(again.part("model")["a/b.weight"], weight.T)
    assert torch.equal(again.part("model")["n"], torch.tensor(3))
    assert again.part("none") == {}
    assert again.facts == facts


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_restored_optimiser_goes_on_to_the_same_bits(make) -> None:  # type: ignore[no-untyped-def]
    first, second = (nn.Linear(3, 2, device="cpu") for _ in range(2))
    optimizer = make(first.parameters())
    _steps(first, optimizer, 3)
    second.load_state_dict(first.state_dict())
    other = make(second.parameters())
    restore_optimizer(other, {name: tensor.clone() for name, tensor in optimizer_tensors(optimizer).items()})
    _steps(first, optimizer, 3)
    _steps(second, other, 3)
    assert torch.equal(first.weight, second.weight)


def _steps(network: nn.Linear, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        network(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    Checkpoint({"model": {"weight": torch.zeros(100)}}, {}).save(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"last.safetensors is damaged .* restore the file, or delete"):
        read_checkpoint(path)


_REPLACE_AGAIN_AND_AGAIN = """
import itertools, os, sys
folder = sys.argv[1]
for size in itertools.cycle(("short", "long")):
    os.link(f"{folder}/{size}", f"{folder}/next")
    os.replace(f"{folder}/next", f"{folder}/last")
"""


def test_a_checkpoint_that_is_being_replaced_is_read_whole(tmp_path: Path) -> None:
    for name, size in {"last": 3, "short": 3, "long": 500}.items():
        Checkpoint({"model": {"weight": torch.full((size,), float(size))}}, {"step": size}).save(tmp_path / name)
    sizes: list[int] = []
    with subprocess.Popen([sys.executable, "-c", _REPLACE_AGAIN_AND_AGAIN, tmp_path]) as writer:
        try:
            while len(sizes) < 2000 or len(set(sizes)) < 2:
                found = read_checkpoint(tmp_path / "last")
                size = found.facts["step"]
                assert torch.equal(found.part("model")["weight"], torch.full((size,), float(size)))
                sizes.append(size)
        finally:
            writer.kill()


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "missing")
    save_file({"weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights.safetensors is no 'trueline checkpoint 1'"):
        read_checkpoint(tmp_path / "weights.safetensors")


def test_every_key_that_differs_is_named() -> None:
    saved = {"name": "a", "training": {"epochs": 3, "average": 0.9}}
    given = {"name": "a", "training": {"epochs": 4}, "contrastive": {"weight": 1.0}}
    with pytest.raises(ValueError, match="another configuration") as error:
        check_same_config(saved, given, Path("last"))
    for part in ("training.epochs = 4 (was 3)", "average = 'none' (was 0.9)", "contrastive.weight = 1.0 (was 'none')"):
        assert part in str(error.value)
    assert "name" not in str(error.value).partition("resume")[0]
    check_same_config(saved, dict(saved), Path("last"))
