"""PGD against an independent package, step for step."""

import copy
import io
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trueline.models import Normalized, resnet20
from trueline.robustness import pgd


@pytest.fixture(scope="module")
def foolbox() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports SciPy by an old name
        return pytest.importorskip("foolbox")


def robust_to_foolbox(
    foolbox: ModuleType, model: nn.Module, images: Tensor, labels: Tensor, norm: str, radius: float, steps: int
) -> Tensor:
    attack = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    attack = attack(abs_stepsize=2.5 * radius / steps, steps=steps, random_start=False)
    _, _, broken = attack(foolbox.PyTorchModel(model, bounds=(0, 1)), images, labels, epsilons=radius)
    return ~broken


@pytest.mark.parametrize(("norm", "radius"), [("linf", 0.03), ("linf", 0.1), ("l2", 0.2), ("l2", 0.6)])
def test_robust_accuracy_is_that_of_foolbox(
    norm: str, radius: float, foolbox: ModuleType, digits_network: tuple[nn.Module, Tensor, Tensor]
) -> None:
    """Foolbox judges the last point and ours every point, so ours may find more: at most one sample in a hundred."""
    model, images, labels = digits_network
    twin = copy.deepcopy(model).eval()  # foolbox adds to the gradients of the parameters
    theirs = robust_to_foolbox(foolbox, twin, images, labels, norm, radius, 20)
    found = pgd(model, images, labels, norm=norm, radius=radius, steps=20, random_start=False)
    ours = model(found).argmax(dim=1) == labels
    assert 0.05 < ours.double().mean() < 0.95
    assert 0 <= int(theirs.sum()) - int(ours.sum()) <= len(labels) // 100


def read_cifar10_test(folder: Path, count: int) -> tuple[Tensor, Tensor]:
    image = pytest.importorskip("PIL.Image")
    numpy = pytest.importorskip("numpy")
    parquet = pytest.importorskip("pyarrow.parquet")
    file = folder / "cifar10" / "test-00000-of-00001.parquet"
    table = parquet.read_table(file, columns=["image", "label"]).slice(0, count)
    pixels = [numpy.asarray(image.open(io.BytesIO(each)).convert("RGB")) for each in table["image"].to_pylist()]
    images = torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    return images.float() / 255, torch.tensor(table["label"].to_pylist())


def test_robust_accuracy_of_a_residual_network_is_that_of_foolbox(foolbox: ModuleType, shared_data: Path) -> None:
    network = resnet20((3, 32, 32), 10)
    network.load_state_dict(load_file(shared_data / "models" / "cifar10-resnet20.safetensors"))
    model = Normalized(network, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)).eval()
    images, labels = read_cifar10_test(shared_data, 40)
    theirs = robust_to_foolbox(foolbox, model, images, labels, "linf", 1 / 255, 10)
    found = pgd(model, images, labels, radius=1 / 255, steps=10, random_start=False)
    ours = model(found).argmax(dim=1) == labels
    assert 0 <= int(theirs.sum()) - int(ours.sum()) <= 1
