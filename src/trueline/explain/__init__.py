"""Explanations of single predictions: attributions, their spectra, how stable and how faithful they are."""

from trueline.explain._attribute import Attribution, attribute
from trueline.explain._foreign import as_explainer
from trueline.explain._gradient import Gradient

__all__ = [
    "Attribution",
    "Gradient",
    "as_explainer",
    "attribute",
]
