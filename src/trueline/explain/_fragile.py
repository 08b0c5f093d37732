"""The source of the attacks on maps, and of how they are judged."""

from trueline.contracts import Reference

FRAGILE = Reference(
    authors="Amirata Ghorbani, Abubakar Abid, James Zou",
    title="Interpretation of Neural Networks Is Fragile",
    venue="AAAI",
    year=2019,
    arxiv="1710.10547",
)
