"""Explaining a finished run or a model of your own: maps, how far they can be trusted, and what lies behind."""

from trueline.explaining._catalogue import EXPLANATIONS, PAGE
from trueline.explaining._map_picture import map_picture

__all__ = ["EXPLANATIONS", "PAGE", "map_picture"]
