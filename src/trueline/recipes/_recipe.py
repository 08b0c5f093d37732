"""A named experiment of training runs: what they are, and the claims they test."""

from collections.abc import Mapping
from dataclasses import dataclass

from trueline.contracts import Reference
from trueline.recipes._claim import Claim
from trueline.train import RunConfig


@dataclass(frozen=True)
class Recipe:
    """A named experiment.

    Args:
        name: what ``trueline reproduce`` calls it.
        summary: what is compared on what, in one sentence.
        references: whose claims these are.
        variants: complete configurations by name; the seed of each is replaced run by run.
        claims: what is tested.
        seeds: number of seeds by default, at least 3.
    """

    name: str
    summary: str
    references: tuple[Reference, ...]
    variants: Mapping[str, RunConfig]
    claims: tuple[Claim, ...]
    seeds: int = 3
