"""Robustness and curvature of any twin on the same few samples."""

from collections.abc import Callable

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.steering._geometry import (
    ATTACK_STEPS,
    CURVATURE_STEPS,
    Attack,
    curvatures,
    plan_attack,
    some_of,
    withstanding,
)
from trueline.steering._options import SteeringOptions
from trueline.subjects import Subject, inputs_of


class Geometry:
    """Robustness and curvature of any twin on the same few samples of each split.

    Args:
        subject: the samples.
        options: how many of them, and the radius.
        meter: counts passes.

    Raises:
        ValueError: if β is to be chosen by robust accuracy and there is no radius.
    """

    def __init__(self, subject: Subject, options: SteeringOptions, meter: Callable[[int], None]) -> None:
        count = max(1, options.samples)
        self.few = {split: some_of(subject.parts[split], count, options.seed) for split in (subject.chooser, "test")}
        self.attack, words = plan_attack(self.few, options)
        self.notes = [words] if words else []
        self._seed, self._meter, self._curved = options.seed, meter, options.samples > 0

    def of(self, model: nn.Module, split: str) -> dict[str, Float[Tensor, " N"]]:
        """Return one value per sample for each measure that can be taken.

        Args:
            model: a twin.
            split: which samples.
        """
        examples, found = self.few[split], {}
        inputs, labels = inputs_of(examples), examples.true_labels
        if self.attack is not None:
            found["robust_accuracy"] = self.robust(model, inputs, labels, self.attack)
        if self._curved:
            try:
                found["normalised_curvature"] = curvatures(model, inputs, labels, self._seed)
            except ValueError as error:  # some models cannot be differentiated twice; all the rest still can be said
                self._curved = False
                self.notes.append(f"Normalised curvature is left out: {error}")
            self._meter(len(labels) * 2 * (1 + CURVATURE_STEPS))
        return found

    def robust(
        self, model: nn.Module, inputs: Float[Tensor, "N *shape"], labels: Int64[Tensor, " N"], attack: Attack
    ) -> Float[Tensor, " N"]:
        """Return which samples stay right, as zeros and ones, and count the passes."""
        found = withstanding(model, inputs, labels, attack, self._seed)
        self._meter(len(labels) * 2 * ATTACK_STEPS)
        return found

    def metric(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
        """Return robust accuracy on the few samples that β is chosen on, whatever the search hands over."""
        del inputs, labels
        examples = next(iter(self.few.values()))
        assert self.attack is not None
        return self.robust(model, inputs_of(examples), examples.true_labels, self.attack).mean().item()
