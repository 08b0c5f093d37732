"""Maps from predictions to honest probabilities, fitted on held-out predictions of a trained model."""

from trueline.calibrate._temperature import TemperatureScaling

__all__ = ["TemperatureScaling"]
