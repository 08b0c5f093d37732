"""Saved predictions of any classifier: from arrays, files and run folders, checked and streamed."""

from trueline.predictions._arrays import from_arrays
from trueline.predictions._files import read_predictions
from trueline.predictions._prediction_set import PredictionSet, rows_in_memory, sample_rows

__all__ = ["PredictionSet", "from_arrays", "read_predictions", "rows_in_memory", "sample_rows"]
