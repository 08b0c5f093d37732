"""What an attack on the maps of samples found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from trueline.contracts import Record, distribution_chart
from trueline.explain._centre_shift import centre_shift
from trueline.explain._cosine_similarity import cosine_similarity
from trueline.explain._map_pairs import magnitude, undefined_where
from trueline.explain._rank_correlation import rank_correlation
from trueline.explain._top_k_intersection import entries, top_k_intersection
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class AttributionAttack(Record):
    """The worst point of each sample, and how its map compares with the clean one; the first axis is the sample.

    Similarities are between sizes of entries, channels summed, as by :func:`magnitude`.

    Args:
        intersection: (N,) share of the ``k`` largest entries that are still among them; NaN where the sample was
            skipped, as in the three that follow.
        rank_correlation: (N,) Spearman's; also NaN where a map is constant.
        cosine: (N,) cosine; also NaN where a map is zero.
        centre_shift: (N,) distance of the centres of mass in pixels, also NaN where a map is zero; None for maps that
            are not of images.
        attacked: (N,) whether the sample was attacked: its label was predicted, or none was given.
        success: (N,) whether a point was found that is worse than the sample itself and keeps the predicted class.
        rejected: (N,) points that were tried and did not count, since the model predicted another class there.
        flat: (N,) steps at which the map that was followed had no slope at all, so that the step was random.
        points: (N, ...) the worst points; the sample itself where there was no success. The prediction is kept at all.
        clean_maps: (N, ...) the model's maps of the samples.
        maps: (N, ...) its maps of the points.
        target: (N,) the predicted class, which the maps explain.
        mean: mean of ``intersection`` over attacked samples and its 95 % Student interval; None if there is none.
        k: number of largest entries.
        tried: points tried for each sample.
        radius: largest change of an entry, in units of the inputs.
        objective: what the attack was after, as text.
    """

    intersection: Float[Tensor, " N"]
    rank_correlation: Float[Tensor, " N"]
    cosine: Float[Tensor, " N"]
    centre_shift: Float[Tensor, " N"] | None
    attacked: Bool[Tensor, " N"]
    success: Bool[Tensor, " N"]
    rejected: Int64[Tensor, " N"]
    flat: Int64[Tensor, " N"]
    points: Float[Tensor, "N *shape"]
    clean_maps: Float[Tensor, "N *map"]
    maps: Float[Tensor, "N *map"]
    target: Int64[Tensor, " N"]
    mean: Interval | None
    k: int
    tried: int
    radius: float
    objective: str

    units: ClassVar[Mapping[str, str]] = {
        "intersection": "1",
        "rank_correlation": "1",
        "cosine": "1",
        "centre_shift": "pixels",
        "points": "unit of the input",
        "clean_maps": "the method's",
        "maps": "the method's",
        "mean": "1",
        "radius": "unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        samples, tried = len(self.attacked), int(self.attacked.sum())
        if self.mean is None:
            return f"none of {samples} samples was attacked: the model predicts another class than the label for all"
        lines = [
            f"{self.objective}: of the {self.k} largest entries {self.mean.value:.1%} stay among the {self.k} largest "
            f"at the worst of {self.tried} points within {self.radius:.4g} (95 % interval {self.mean.low:.1%} to "
            f"{self.mean.high:.1%}, {tried} samples); the prediction stays at all of them"
        ]
        for words, values in (("rank correlation", self.rank_correlation), ("cosine", self.cosine)):
            if len(defined := values[values.isfinite()]):
                lines.append(f"{words} with the clean map {defined.mean():.3f} on average")
        if samples > tried:
            lines.append(f"{samples - tried} skipped, since the model predicts another class than their label")
        if lost := int((self.attacked & ~self.success).sum()):
            lines.append(f"at {lost} nothing worse was found that keeps the prediction; they count as they are")
        if flat := int((self.flat == self.tried).sum()):
            lines.append(
                f"at {flat} no step had a slope to follow: linear there, or the surrogates are; all steps were random"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples that keep at most a given part of their largest entries.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.intersection,
            f"share of the {self.k} largest entries that stay",
            mean=None if self.mean is None else self.mean.value,
            purpose="AttributionAttack.plot()",
        )


def compared(k: float, found: Mapping[str, Any], **facts: Any) -> AttributionAttack:
    """Return the record of what an attack found.

    Args:
        k: the largest entries to compare, a count or a share.
        found: ``points``, ``clean_maps``, ``maps``, ``attacked``, ``success``, ``rejected``, ``flat`` and ``target`` of
            all samples, on the CPU.
        **facts: ``tried``, ``radius`` and ``objective``.
    """
    skipped = ~found["attacked"]
    before, after = (magnitude(found[name].double()) for name in ("clean_maps", "maps"))
    count = entries(k, before.flatten(1).shape[1])
    intersection = undefined_where(top_k_intersection(after, before, count), skipped)
    return AttributionAttack(
        intersection=intersection,
        rank_correlation=undefined_where(rank_correlation(after, before), skipped),
        cosine=undefined_where(cosine_similarity(after, before), skipped),
        centre_shift=undefined_where(centre_shift(after, before), skipped) if before.ndim == 3 else None,
        mean=Interval.of_mean(intersection[~skipped]) if not skipped.all() else None,
        k=count,
        **found,
        **facts,
    )


def gathered(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of all chunks in one, floating-point ones as float64, on the CPU.

    Args:
        parts: of each chunk, by name.
    """
    found = {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in found.items()}
