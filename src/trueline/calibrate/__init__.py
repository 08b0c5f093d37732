"""Maps from predictions to honest probabilities, fitted on held-out predictions of a trained model."""

from trueline.calibrate._calibrated_model import CalibratedModel
from trueline.calibrate._temperature import TemperatureScaling

__all__ = ["CalibratedModel", "TemperatureScaling"]
