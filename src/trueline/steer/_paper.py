"""The paper that steering comes from."""

from trueline.contracts import Reference

CURVATURE_TUNING = Reference(
    authors="Leyang Hu, Matteo Gamba, Randall Balestriero",
    title="Curvature Tuning: Provable Training-free Model Steering From a Single Parameter",
    venue="NeurIPS",
    year=2025,
    arxiv="2502.07783",
)
