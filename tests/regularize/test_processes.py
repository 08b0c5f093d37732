"""Two processes take the regularised steps of one that holds the whole batch."""

import subprocess
import sys
import textwrap
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from trueline.regularize import ForwardGradientRegularisation

WORKER = textwrap.dedent(
    """
    import sys
    import torch
    import torch.distributed as dist
    from safetensors.torch import load_file, save_file
    from torch import nn
    from torch.nn import functional as F
    from torch.nn.parallel import DistributedDataParallel
    from trueline.regularize import ForwardGradientRegularisation

    dist.init_process_group("gloo")
    folder, rank = sys.argv[1], dist.get_rank()
    data = load_file(f"{folder}/data.safetensors")
    inputs, labels = data["inputs"][rank::2], data["labels"][rank::2]
    for views in (False, True):  # gradients that share the memory which the next ones are gathered in
        network = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
        network.load_state_dict(load_file(f"{folder}/start.safetensors"))
        model = DistributedDataParallel(network, gradient_as_bucket_view=views)
        regularisation = ForwardGradientRegularisation(model, gamma=0.2, epsilon=0.5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            regularisation.backward(lambda: F.cross_entropy(model(inputs), labels))
            optimizer.step()
        save_file(network.state_dict(), f"{folder}/{views}-{rank}.safetensors")
    dist.destroy_process_group()
    """
)


def test_two_processes_take_the_steps_of_one(tmp_path: Path, generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    inputs, labels = torch.randn(8, 4, generator=generator).double(), torch.arange(8) % 3
    save_file({"inputs": inputs, "labels": labels}, tmp_path / "data.safetensors")
    save_file(model.state_dict(), tmp_path / "start.safetensors")
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    subprocess.run([*command, str(tmp_path)], check=True, timeout=120, capture_output=True)

    regularisation = ForwardGradientRegularisation(model, gamma=0.2, epsilon=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        regularisation.backward(lambda: F.cross_entropy(model(inputs), labels))
        optimizer.step()
    for name in ("False-0", "False-1", "True-0", "True-1"):
        found = load_file(tmp_path / f"{name}.safetensors")
        for key, value in model.state_dict().items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-14)
