"""Do smooth units smooth the gradients of a digits network, at equal accuracy? After Mehrpanah et al. (2025)."""

from typing import Any

import torch

from trueline.contracts import facts_of
from trueline.data import digits
from trueline.explain import expected_frequency
from trueline.recipes._explanation_spectra import claims, figure, measure_spectra, variants
from trueline.recipes._study import Study
from trueline.train import RunConfig

SHARPNESSES = (0.5, 1.0, 2.0, 5.0, 10.0, 50.0, None)
EXPLAINED, EPOCHS, ACCURACY = 200, 150, 0.9


def explanation_spectra_digits() -> Study:
    """Digits, a five-layer ConvNet with softplus of seven sharpnesses: how noisy are its explanations?

    ``ConvNet`` of width 8 without batch norm on scikit-learn's digits, pixels with mean 0 and standard deviation 1:
    half of the images train, a fifth are validation and three tenths the test. AdamW at 3e-4 without weight decay,
    batches of 64, until the first epoch with a validation accuracy of 90 %, at most 150. ``softplus b`` has
    ``ln(1 + e^(bx))/b`` in the place of ReLU from the start, with weights drawn to match. A seed draws the split, the
    start and the order.

    200 test images are explained by their predicted class's log-probability: the gradient; SmoothGrad with 64 draws of
    standard deviation 0.1; integrated gradients from the mean image, 16 nodes; Guided Grad-CAM, which is what the
    published study calls Grad-CAM, and Grad-CAM itself, enlarged, at the last hidden layer (2x2). The guided
    part acts on ReLUs alone: in a softplus network it is the gradient.

    ``frequency`` is the mean expected frequency times 6n, n pixels, so that white noise has about 1; ``gap`` the
    absolute difference of its mean from the gradient's, as published, and ``gap_by_image`` the mean of the absolute
    differences. ``normalised_frequency`` is the DC-free variant, ``flat`` the share of constant maps, ``spearman`` the
    rank correlation of the gradient's frequency with the sharpness. ``reached`` is 1 where the accuracy was. The
    gradient has no gap in any network, by definition.

    The numbers called published are for a convolutional network on Imagenette, times 10⁵.
    """
    return Study(
        name="explanation-spectra-digits",
        summary="Spectra of explanations of a ConvNet on digits, over the sharpness of its units, at equal accuracy.",
        references=facts_of(expected_frequency).references,
        variants=variants(SHARPNESSES),
        measure=measure,
        claims=claims(SHARPNESSES[0]),
        figure=figure,
    )


def measure(seed: int) -> dict[str, dict[str, float]]:
    """Return the scores of one seed."""
    source = digits().train
    images = torch.as_tensor(source.inputs).float() / source.value_range
    return measure_spectra(_config(seed), SHARPNESSES, images, explained=EXPLAINED)


def _config(seed: int) -> RunConfig:
    tables: dict[str, Any] = {
        "name": "explanation-spectra-digits",
        "seed": seed,
        "data": {"name": "digits", "validation": 0.2, "calibration": 0.0, "test": 0.3},
        "model": {"name": "convnet", "width": 8, "batch_norm": False},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "adamw", "learning_rate": 3e-4},
        "schedule": {"name": "constant"},
        "training": {"epochs": EPOCHS, "batch_size": 64, "stop_at_accuracy": ACCURACY, "device": "cpu"},
    }
    return RunConfig.model_validate(tables)
