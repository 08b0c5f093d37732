"""Counterfactuals: how near another prediction is, in which direction, and whether data lie there."""

__all__: list[str] = []
