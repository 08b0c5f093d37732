"""How far a change of the input can move the outputs: measured, estimated, and bounded."""

import math

from trueline.probe import (
    gradient_inequality,
    input_jacobian_norm,
    jacobian_nuclear_norm,
    lipschitz_product_bound,
)
from trueline.probing._records import Measured, Number
from trueline.probing._setting import Batch, Setting, margins, without_normalisation
from trueline.probing._telling import UNIT, about_samples, exactly, in_grey_levels, median_of
from trueline.probing._words import number_text, with_ends

MOST_OUTPUTS = 200  # each takes a backward pass


def jacobian(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return the sensitivity at each sample, and how far away the prediction changes to first order.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    record = input_jacobian_norm(
        setting.model, batch.inputs, chunk_size=setting.chunk_size, generator=setting.generator()
    )
    distance = margins(setting.logits(batch)) / record.spectral
    middle = median_of(distance)
    sentences = (
        f"As an estimate, half of these samples keep their prediction under every change shorter than "
        f"{number_text(middle.value)}{in_grey_levels(middle.value, batch)}. It takes the network for straight around "
        "each sample and promises nothing: an attack that follows the bends may need less.",
        f"A small change of an input moves the outputs, as a vector, by at most C times its length, and C is "
        f"{with_ends(record.mean)} on average: the empirical Lipschitz constant.",
        "A larger C is no fault by itself: it grows with the scale of the outputs, so compare models by the estimated "
        "distance, or at equal loss.",
    )
    numbers = (
        Number("C, mean over samples", record.mean, f"outputs / {UNIT}"),
        Number("C, largest", exactly(record.largest), f"outputs / {UNIT}"),
        Number("distance to another prediction, median", middle, UNIT, "estimate"),
        Number("distance, smallest", exactly(distance.min().item()), UNIT, "estimate"),
    )
    return about_samples(
        setting,
        batch,
        record.spectral,
        "C, outputs per unit of the input",
        records={"input_jacobian_norm": record},
        sentences=sentences,
        numbers=numbers,
    )


def nuclear(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return in how many directions the outputs vary at each sample.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    record = jacobian_nuclear_norm(setting.model, batch.inputs, chunk_size=setting.chunk_size)
    rank, most = median_of(record.effective_rank), record.singular_values.shape[1]
    sentences = (
        f"Around half of these samples the outputs vary as if in at most {number_text(rank.value)} of {most} "
        "directions; along all others a small change of the input hardly moves them.",
        "Few directions are what training that resists noise aims for. The number says nothing about which "
        "directions they are, or whether they are the right ones.",
    )
    numbers = (
        Number("directions in use, median", rank, f"of {most}"),
        Number("nuclear norm, mean", record.mean, f"outputs / {UNIT}"),
    )
    return about_samples(
        setting,
        batch,
        record.nuclear_norm,
        "nuclear norm, outputs per unit of the input",
        records={"jacobian_nuclear_norm": record},
        sentences=sentences,
        numbers=numbers,
    )


def bound(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return a bound on how far the outputs can move, and the distances that it guarantees.

    Args:
        setting: the model.
        batch: the samples, for their margins.
        count: their number.
    """
    record = lipschitz_product_bound(setting.model, batch.inputs[:1])
    logits = setting.logits(batch)
    distance = margins(logits) / record.bound if record.bound > 0 else margins(logits) * math.inf
    middle = median_of(distance)
    sure = "" if record.converged else " The norm of a layer has not converged, so that the bound may be a little low."
    sentences = (
        f"No change of any input moves the outputs by more than {number_text(record.bound)} times its length. Half of "
        f"these samples are therefore certain to keep their prediction within {number_text(middle.value)}"
        f"{in_grey_levels(middle.value, batch)}.{sure}",
        "This is a guarantee, not an estimate. It multiplies the worst of every layer, which never come together, so "
        "that for deep networks it is as a rule far too careful to be of use.",
    )
    numbers = (
        Number("largest C possible", exactly(record.bound), f"outputs / {UNIT}", "bound"),
        Number("distance to another prediction, median", middle, UNIT, "bound"),
    )
    return Measured({"lipschitz_product_bound": record}, sentences, numbers)


def inequality(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how much of the gradient in the weights the sensitivity to the input accounts for.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    model, inputs = without_normalisation(setting, batch)
    record = gradient_inequality(model, inputs, batch.labels, chunk_size=setting.chunk_size)
    lower, first, whole = (side.sum().item() for side in (record.loss_lower, record.loss_first, record.loss_all))
    shares = [lower / side if side else 1.0 for side in (first, whole)]
    sentences: tuple[str, ...] = (
        f"The sensitivity of the loss to the input accounts for {100 * shares[1]:.2g} % of its squared gradient in all "
        f"weights, and for {100 * shares[0]:.2g} % of that in the first layer. Never more than 100 %: a loss that is "
        "flat in the weights is flat in the input too.",
        "A small share means that the inequality says little about this model, not that anything is wrong.",
    )
    if record.scope != "dense":
        sentences += (
            "The first layer is a convolution, and its weight counts as one of its own for each position: for the "
            "weight that positions share, the inequality does not hold.",
        )
    numbers = (
        Number("share of the first layer's squared gradient", exactly(shares[0])),
        Number("share of all weights' squared gradient", exactly(shares[1])),
        Number("norm of the first layer", exactly(record.norm), f"its output / {UNIT}"),
    )
    notes = () if model is setting.model else ("The inputs are those behind the model's own normalisation.",)
    return Measured({"gradient_inequality": record}, sentences, numbers, notes=notes)


def too_many_outputs(setting: Setting, split: str) -> str:
    """Return why no backward pass for each output can be afforded, or nothing.

    Args:
        setting: the model.
        split: of the samples.
    """
    if setting.outputs <= MOST_OUTPUTS:
        return ""
    return f"it takes a backward pass for each of {setting.outputs:,} outputs; up to {MOST_OUTPUTS} are allowed"
