"""What a data set brings, and the parts of an experiment."""

from dataclasses import dataclass

from trueline.data._examples import Examples


@dataclass(frozen=True, eq=False)
class Source:
    """What a data set brings: samples to train on and, if it has one, its own test set.

    Args:
        train: at least one sample.
        test: samples of the same classes, shape and value range; or None.

    Raises:
        ValueError: if ``train`` is empty or the two do not match.
    """

    train: Examples
    test: Examples | None = None

    def __post_init__(self) -> None:
        if not len(self.train):
            raise ValueError("a data set needs at least one training sample, got none")
        if self.test is not None:
            _check_alike("test", self.test, self.train)


@dataclass(frozen=True, eq=False)
class Splits:
    """The four parts of an experiment: fit, choose, calibrate, report.

    Args:
        train: at least one sample.
        validation: for choices such as the best epoch; may be empty.
        calibration: for maps fitted to the trained model's predictions; may be empty.
        test: for the reported numbers; at least one sample.

    Raises:
        ValueError: if ``train`` or ``test`` is empty, or a part has other classes, shape or value range.
    """

    train: Examples
    validation: Examples
    calibration: Examples
    test: Examples

    def __post_init__(self) -> None:
        for name, part in (("train", self.train), ("test", self.test)):
            if not len(part):
                raise ValueError(f"the {name} split is empty; give more samples or another fraction")
        for name in ("validation", "calibration", "test"):
            _check_alike(name, getattr(self, name), self.train)


def _check_alike(name: str, part: Examples, train: Examples) -> None:
    if part.class_names != train.class_names:
        raise ValueError(f"{name} and train must have the same classes, got {part.class_names} and {train.class_names}")
    if not len(part):
        return
    if part.input_shape != train.input_shape:
        raise ValueError(f"{name} inputs must have train's shape {train.input_shape}, got {part.input_shape}")
    if part.value_range != train.value_range:
        raise ValueError(f"{name} must have train's value_range {train.value_range}, got {part.value_range}")
