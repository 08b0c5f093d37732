"""How noisy a map looks, in one number: the expected frequency of Mehrpanah et al. (2025)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import ACCENT, Record, Reference, import_optional, method, plain_chart
from trueline.explain._spectral_profile import Combine, spectral_profiles
from trueline.numerics import Interval

COMPLEXITY = Reference(
    authors="Amir Mehrpanah, Matteo Gamba, Kevin Smith, Hossein Azizpour",
    title="On the Complexity-Faithfulness Trade-off of Gradient-Based Explanations",
    venue="ICCV",
    year=2025,
    arxiv="2508.10490",
)
_COST = "a sort and a Fourier transform of each map; 16 bytes a pixel at once, see chunk_size"


@dataclass(frozen=True, eq=False)
class ExpectedFrequency(Record):
    """One number for the spectrum of each map, and the spectra.

    Args:
        frequency: (N,) the number; 0 for a map without any variation.
        profile: (N, L) power of each map in rings of equal frequency, the power of the mean first.
        frequencies: (L,) of the rings, from 0 to 1 for the last ring.
        mean: mean of ``frequency`` and its 95 % Student interval; infinite for one map.
        flat: number of maps without any variation.
        name: which of the two numbers it is.
    """

    frequency: Float[Tensor, " N"]
    profile: Float[Tensor, "N L"]
    frequencies: Float[Tensor, " L"]
    mean: Interval
    flat: int
    name: str

    units: ClassVar[Mapping[str, str]] = {
        "frequency": "share of the highest frequency",
        "profile": "unit of the maps squared, or 1 where ranks stand for values",
        "frequencies": "share of the highest frequency",
        "mean": "share of the highest frequency",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        low, high = self.frequency.min().item(), self.frequency.max().item()
        lines = [
            f"{self.name} of {len(self.frequency)} maps: mean {self.mean.value:.4g} (95 % interval {self.mean.low:.4g} "
            f"to {self.mean.high:.4g}), from {low:.4g} to {high:.4g}",
            "higher is noisier; compare it for maps of one size only",
        ]
        if self.flat:
            lines.append(f"{self.flat} of them are constant, which counts as 0")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the mean power of the maps over the frequency, without that of their mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="ExpectedFrequency.plot()")
        pairs = zip(self.frequencies.tolist(), self.profile.mean(dim=0).tolist(), strict=True)
        rows = [{"frequency": f, "power": power} for f, power in list(pairs)[1:] if power > 0]
        chart = alt.Chart(alt.Data(values=rows)).mark_line(color=ACCENT, strokeWidth=2, point={"color": ACCENT})
        return plain_chart(
            chart.encode(
                x=alt.X("frequency:Q", title="frequency / highest frequency", scale=alt.Scale(domain=[0, 1])),
                y=alt.Y("power:Q", title="power, mean over the maps", scale=alt.Scale(type="log")),
                tooltip=[alt.Tooltip(f"{field}:Q", format=".3g") for field in ("frequency", "power")],
            )
        )


@method(COMPLEXITY, cost=_COST)
def expected_frequency(
    maps: Float[Tensor, "N *map"],
    *,
    rank: bool = True,
    remove_dc: bool = False,
    ring: Combine = "mean",
    reduce: Combine = "mean",
    max_radius: int | None = None,
    chunk_size: int | None = None,
) -> ExpectedFrequency:
    """Return the expected frequency of each map: how much of its power lies at high frequencies.

    ``EF = mean_ρ( f_ρ · S_ρ / Σ S )``: the map is summed over its channels with the sign, each pixel is replaced by its
    rank divided by the number n of pixels, and S_ρ is the mean of ``|FFT|²`` over the ring
    ``floor(sqrt(k_y² + k_x²)) = ρ`` of whole cycles over the height and the width, up to the corners; f_ρ rises
    linearly from 0 to 1. The defaults compute what the authors' code computes (their tables print 10⁵ times it).

    All rank maps have about the same mean and variance, and ring 0, the mean, holds nearly all of ΣS. The number is
    therefore a weighted sum of the power of the rings and not a mean frequency; for that, see
    :func:`normalised_expected_frequency`, which can order maps differently. White noise has about ``1 / (6n)``. As n
    is in it, compare maps of one size only.

    Args:
        maps: (N, H, W), or (N, channels, H, W); floating point and finite, on any device. Where a map is not square, a
            ring has not one wavelength in pixels.
        rank: replace values by ranks, ties averaged: the answer is then the same for any increasing function of the
            map.
        remove_dc: leave ring 0 out of ΣS.
        ring: ``"mean"`` or ``"sum"`` of the power over a ring.
        reduce: ``"mean"`` or ``"sum"`` over the rings.
        max_radius: the last ring, at least 0; ``min(H, W) // 2`` leaves out the corners. None for all.
        chunk_size: maps at once, None for all; it changes the memory, not the answer.

    Returns:
        The numbers and the profiles, float64 on the CPU. A constant map has 0, also without ring 0.

    Raises:
        ValueError: if the maps have another shape, are not finite, or an option is out of range.
        TypeError: if the maps are not floating point.

    Example:
        >>> waves = torch.cos(2 * torch.pi * 4 * torch.arange(16) / 16).expand(1, 16, 16)  # 4 cycles, rings 0 to 11
        >>> round(expected_frequency(waves, rank=False, reduce="sum").frequency.item() * 11, 6)
        4.0
        >>> expected_frequency(torch.ones(2, 3, 8, 8)).frequency.tolist()
        [0.0, 0.0]
    """
    if reduce not in ("mean", "sum"):
        raise ValueError(f"reduce must be 'mean' or 'sum', got {reduce!r}")
    profile = spectral_profiles(maps, rank=rank, ring=ring, max_radius=max_radius, chunk_size=chunk_size)
    return _record(profile, remove_dc, reduce, "expected frequency")


@method(COMPLEXITY, cost=_COST)
def normalised_expected_frequency(
    maps: Float[Tensor, "N *map"],
    *,
    rank: bool = True,
    ring: Combine = "mean",
    max_radius: int | None = None,
    chunk_size: int | None = None,
) -> ExpectedFrequency:
    """Return the mean frequency of each map's power, whatever that power is.

    ``Σ_(ρ>0) f_ρ S_ρ / Σ_(ρ>0) S_ρ`` with S and f of :func:`expected_frequency`: ring 0, the mean of the map, is left
    out, so that the number lies in [0, 1] and is that of the shape of the spectrum alone. It is ours. It answers
    another question than the published number and can order explanations differently: report both under their names.

    Args:
        maps: as for :func:`expected_frequency`.
        rank: replace values by ranks, ties averaged.
        ring: ``"mean"`` of the power over a ring, so that all frequencies count alike, or ``"sum"``, so that all
            coefficients do.
        max_radius: the last ring, at least 0. None for all.
        chunk_size: maps at once, None for all; it changes the memory, not the answer.

    Returns:
        The numbers and the profiles, float64 on the CPU. A constant map, which has no frequency, has 0.

    Raises:
        ValueError: if the maps have another shape, are not finite, or an option is out of range.
        TypeError: if the maps are not floating point.

    Example:
        >>> waves = torch.cos(2 * torch.pi * 4 * torch.arange(16) / 16).expand(1, 16, 16)
        >>> round(normalised_expected_frequency(3 + waves, rank=False).frequency.item() * 11, 6)
        4.0
    """
    profile = spectral_profiles(maps, rank=rank, ring=ring, max_radius=max_radius, chunk_size=chunk_size)
    return _record(profile, True, "sum", "normalised expected frequency")


def _record(profile: Tensor, remove_dc: bool, reduce: Combine, name: str) -> ExpectedFrequency:
    frequencies = torch.linspace(0, 1, profile.shape[1], dtype=torch.float64)
    first = 1 if remove_dc else 0
    total = profile[:, first:].sum(dim=1)
    weighted = (profile * frequencies).sum(dim=1)
    # Where there is no power at all, the weighted sum is 0 too.
    frequency = weighted / torch.where(total > 0, total, 1)
    if reduce == "mean":
        frequency = frequency / profile.shape[1]
    return ExpectedFrequency(
        frequency=frequency,
        profile=profile,
        frequencies=frequencies,
        mean=Interval.of_mean(frequency),
        flat=int((profile[:, 1:].sum(dim=1) == 0).sum()),
        name=name,
    )
