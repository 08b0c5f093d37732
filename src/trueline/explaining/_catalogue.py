"""The sections by name: what each asks, which functions answer it, and what it needs."""

from collections.abc import Mapping

from trueline import counterfactual, explain, steer
from trueline.explaining import _behind, _faithfulness, _ground, _maps, _nearby, _stability
from trueline.probing import ProbeEntry, Setting

PAGE: Mapping[str, str] = {
    "about": "Explanations",
    "preface": "An explanation is a claim about the model, not about the world, and it can be wrong. So beside the "
    "maps stands how much of them a change too small to see can move, and whether removing what they name changes the "
    "prediction at all. Intervals speak of these samples, not of another training run.",
}
"""Heading and preface of the page, for :func:`trueline.probing.write_page`."""


def _headed(setting: Setting, split: str) -> str:
    return _nearby.too_few(setting, split) or _ground.no_head(setting, split)


def _trained(setting: Setting, split: str) -> str:
    return _behind.not_trained_here(setting, split) or _ground.no_head(setting, split)


EXPLANATIONS: Mapping[str, ProbeEntry] = {
    "maps": ProbeEntry(
        "Maps",
        "Which entries of a sample made the model predict what it predicts?",
        (explain.Gradient, explain.IntegratedGradients, explain.NoiseMean, explain.GradCAM, steer.steer),
        _maps.maps,
        samples=32,
        pilot=4,
        balanced=True,
    ),
    "spectra": ProbeEntry(
        "Spectra of the maps",
        "How noisy are the maps, and what does smoothing them cost?",
        (explain.expected_frequency, explain.explanation_gap, steer.steer),
        _maps.spectra,
        needs="pictures",
        refusal=_ground.no_picture,
        pilot=8,
    ),
    "stability": ProbeEntry(
        "Stability",
        "How much of a map can a change move that nobody sees and that keeps the prediction?",
        (explain.attack_attribution, steer.steer),
        _stability.stability,
        samples=64,
        pilot=4,
        told=True,
    ),
    "faithfulness": ProbeEntry(
        "Faithfulness",
        "Does the prediction go when the entries go that a map names?",
        (explain.deletion, explain.insertion),
        _faithfulness.faithfulness,
        samples=64,
        pilot=4,
        told=True,
    ),
    "counterfactuals": ProbeEntry(
        "Counterfactuals",
        "How near is another prediction, and do real samples lie there?",
        (counterfactual.find_counterfactuals, counterfactual.LocalSupport),
        _nearby.counterfactuals,
        needs="one linear layer that returns the outputs",
        refusal=_headed,
        pilot=16,
        told=True,
    ),
    "representers": ProbeEntry(
        "Training samples behind a prediction",
        "Which training samples speak for a prediction, and which against it?",
        (explain.l2_representers,),
        _behind.representers,
        needs="the training samples and one linear layer that returns the outputs",
        refusal=_trained,
        pilot=16,
    ),
}
"""The sections in the order in which they run; the same for every caller."""
