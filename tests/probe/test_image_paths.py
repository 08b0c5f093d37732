"""What all paths of images share: the sample first, lazily, and their checks."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch

from trueline.probe._image_paths import ImagePath
from trueline.probe._shift_path import ShiftPath
from trueline.probe._svd_path import SVDPath


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


PATHS = [ShiftPath((1, 2), 3), SVDPath((1, 4), 2), ShiftPath((), 2), ShiftPath((2,), 1)]


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_every_path_begins_at_the_image_and_has_an_anchor_for_each_step(path: ImagePath) -> None:
    x = images(4, 3, 6, 9)
    stacked = path.stacked(x)
    assert stacked.shape == (4, path.directions, 1 + len(path.steps), 3, 6, 9)
    for k in range(path.directions):
        assert torch.equal(stacked[:, k, 0], x)
    anchors = list(path.walk(x))
    assert len(anchors) == path.directions * len(path.steps)
    if anchors:
        assert torch.equal(torch.stack(anchors, dim=1).view(4, path.directions, -1, 3, 6, 9), stacked[:, :, 1:])


@pytest.mark.parametrize("path", PATHS[:2], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_anchors_have_the_dtype_of_the_images_and_leave_them_alone(path: ImagePath, dtype: torch.dtype) -> None:
    x = images(2, 1, 8, 8).to(dtype)
    before = x.clone()
    assert all(anchor.dtype == dtype for anchor in path.walk(x))
    assert torch.equal(x, before)


@pytest.mark.parametrize("path", PATHS[:2], ids=str)
def test_each_image_has_its_own_path(path: ImagePath) -> None:
    x = images(3, 2, 8, 8)
    torch.testing.assert_close(path.stacked(x)[1:2], path.stacked(x[1:2]), rtol=0, atol=1e-14)


def test_a_path_of_ones_own() -> None:
    @dataclass(frozen=True)
    class Fading(ImagePath):
        directions: int = 1

        @property
        def steps(self) -> tuple[float, ...]:
            return (0.5, 1.0)

        def walk(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
            return ((1 - step) * images for step in self.steps)

    x = images(2, 1, 3, 3)
    assert torch.equal(Fading().stacked(x)[:, 0, 1], x / 2)
    assert torch.equal(Fading().stacked(x)[:, 0, 2], torch.zeros_like(x))


@pytest.mark.parametrize("kind", [ShiftPath, SVDPath])
@pytest.mark.parametrize(
    ("steps", "directions", "words"),
    [((2, 1), 1, "increasing"), ((1, 1), 1, "increasing"), ((-1,), 1, "at least 0"), ((1,), 0, "directions")],
)
def test_steps_that_lead_nowhere_are_refused(kind: type, steps: tuple[int, ...], directions: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kind(steps, directions)
