"""The study that this group of measurements comes from."""

from trueline.contracts import Reference

GEMOU_2026 = Reference(
    authors="Ioanna Gemou, Matteo Gamba, Randall Balestriero, Ritambhara Singh",
    title="A Geometric View of Counterfactual Behavior: Interaction of Boundary Proximity and Local Support",
    venue="arXiv",
    year=2026,
    arxiv="2606.04209",
)
