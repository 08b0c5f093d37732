"""Two processes hold the same memory, and it is the memory of one process that saw everything."""

import subprocess
import sys
import textwrap
from pathlib import Path

import torch
from safetensors.torch import load_file

from trueline.supervise import DPS, PSKD

WORKER = textwrap.dedent(
    """
    import sys
    import torch
    import torch.distributed as dist
    from safetensors.torch import save_file
    from trueline.supervise import DPS, PSKD

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    labels = torch.arange(11) % 4
    for name, objective in {"dps": DPS(labels, 4), "pskd": PSKD(labels, 4, epochs=3)}.items():
        for epoch in range(3):
            generator = torch.Generator().manual_seed(epoch)
            order = torch.randperm(11, generator=generator)
            logits = torch.randn(11, 4, generator=generator)
            for start in (0, 6):  # shares of 3 and 3, then 3 and 2
                part = slice(start + rank, start + 6, 2)
                objective.update(order[part], logits[part])
            objective.end_epoch()
        save_file(objective.state_dict(), f"{sys.argv[1]}/{name}-{rank}.safetensors")
    dist.destroy_process_group()
    """
)


def test_two_processes_hold_what_one_process_holds(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    subprocess.run([*command, str(tmp_path)], check=True, timeout=120, capture_output=True)
    labels = torch.arange(11) % 4
    for name, objective in {"dps": DPS(labels, 4), "pskd": PSKD(labels, 4, epochs=3)}.items():
        for epoch in range(3):
            generator = torch.Generator().manual_seed(epoch)
            order = torch.randperm(11, generator=generator)
            logits = torch.randn(11, 4, generator=generator)
            for part in (slice(0, 6), slice(6, 11)):
                objective.update(order[part], logits[part])
            objective.end_epoch()
        first, second = (load_file(tmp_path / f"{name}-{rank}.safetensors") for rank in (0, 1))
        for key, value in objective.state_dict().items():
            assert torch.equal(first[key], second[key]), (name, key)
            assert torch.equal(first[key], value), (name, key)
