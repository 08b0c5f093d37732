"""Sums over channels."""

import pytest
import torch

from trueline.explain._pixel_maps import pixel_maps


def test_channels_add_up_with_or_without_their_sign(generator: torch.Generator) -> None:
    maps = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(pixel_maps(maps), maps[:, 0] + maps[:, 1] + maps[:, 2] + maps[:, 3])
    torch.testing.assert_close(pixel_maps(maps, absolute=True), pixel_maps(maps.abs()))
    assert torch.equal(pixel_maps(maps[:, :1]), maps[:, 0])


def test_maps_without_channels_are_pixels_already(generator: torch.Generator) -> None:
    maps = torch.randn(3, 5, 6, generator=generator)
    assert torch.equal(pixel_maps(maps), maps)
    assert torch.equal(pixel_maps(maps, absolute=True), maps.abs())


def test_what_is_no_image_is_refused() -> None:
    for shape in ((3, 4), (3, 1, 2, 5, 5)):
        with pytest.raises(ValueError, match="maps must be those of images"):
            pixel_maps(torch.zeros(shape))
    with pytest.raises(TypeError, match="maps"):
        pixel_maps(torch.zeros(3, 4, 5, dtype=torch.int64))
