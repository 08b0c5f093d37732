"""Explanations of single predictions: attributions, their spectra, how stable and how faithful they are."""

from trueline.explain._attack_attribution import attack_attribution
from trueline.explain._attention_maps import attention_maps
from trueline.explain._attention_rollout import AttentionRollout
from trueline.explain._attribute import Attribution, attribute
from trueline.explain._attribution_attack import AttributionAttack
from trueline.explain._baselines import (
    Baseline,
    BlurBaseline,
    ConstantBaseline,
    MeanBaseline,
    NoiseBaseline,
    SampleBaseline,
)
from trueline.explain._captum import FromCaptum
from trueline.explain._centre_shift import centre_shift
from trueline.explain._completeness import CompletenessGap, completeness_gap
from trueline.explain._cosine_similarity import cosine_similarity
from trueline.explain._deletion_effect import DeletionEffect, deletion_effect
from trueline.explain._deletion_insertion import deletion, insertion
from trueline.explain._expected_frequency import ExpectedFrequency, expected_frequency, normalised_expected_frequency
from trueline.explain._explanation_gap import ExplanationGap, explanation_gap
from trueline.explain._foreign import as_explainer
from trueline.explain._grad_cam import GradCAM
from trueline.explain._gradient import Gradient
from trueline.explain._gradient_gap import GradientGap, gradient_gap
from trueline.explain._guided_backpropagation import GuidedBackpropagation
from trueline.explain._guided_grad_cam import GuidedGradCAM
from trueline.explain._hires_cam import HiResCAM
from trueline.explain._infidelity import Infidelity, infidelity
from trueline.explain._input_gradient import InputGradient
from trueline.explain._integrated_gradients import IntegratedGradients
from trueline.explain._kendall_tau import kendall_tau
from trueline.explain._l1_representers import l1_representers
from trueline.explain._l2_head import L2Head, fit_l2_head
from trueline.explain._l2_representers import l2_representers
from trueline.explain._local_lipschitz import LocalLipschitz, local_lipschitz
from trueline.explain._map_objectives import MapObjective, MassCentre, TopK
from trueline.explain._map_pairs import magnitude
from trueline.explain._max_sensitivity import MaxSensitivity, max_sensitivity
from trueline.explain._noise import NoiseMean, NoiseSquare, NoiseVariance
from trueline.explain._nuclear_representers import nuclear_representers
from trueline.explain._parameter_randomisation import ParameterRandomisation, parameter_randomisation
from trueline.explain._pixel_flipping import PixelFlipping, pixel_flipping
from trueline.explain._pixel_maps import pixel_maps
from trueline.explain._random_signs import random_signs
from trueline.explain._rank_correlation import rank_correlation
from trueline.explain._relative_stability import RelativeStability, relative_stability
from trueline.explain._removal_curve import RemovalCurve
from trueline.explain._removal_score import RemovalScore
from trueline.explain._representers import Representer, Representers, SampleLoss
from trueline.explain._road import road
from trueline.explain._roar import Roar, roar
from trueline.explain._sensitivity_n import SensitivityN, sensitivity_n
from trueline.explain._smoothed_units import SmoothedUnits
from trueline.explain._structural_similarity import structural_similarity
from trueline.explain._targeted_attack import TargetedAttack, targeted_attack
from trueline.explain._top_k_intersection import top_k_intersection

__all__ = [  # noqa: RUF022  grouped by what they do
    # attributions
    "Attribution",
    "attribute",
    "as_explainer",
    "FromCaptum",
    "Gradient",
    "InputGradient",
    "IntegratedGradients",
    "CompletenessGap",
    "completeness_gap",
    "NoiseMean",
    "NoiseSquare",
    "NoiseVariance",
    "SmoothedUnits",
    "GradCAM",
    "HiResCAM",
    "GuidedBackpropagation",
    "GuidedGradCAM",
    "AttentionRollout",
    "attention_maps",
    "pixel_maps",
    # their spectra
    "ExpectedFrequency",
    "expected_frequency",
    "normalised_expected_frequency",
    "ExplanationGap",
    "explanation_gap",
    "GradientGap",
    "gradient_gap",
    # how alike two maps are
    "top_k_intersection",
    "rank_correlation",
    "kendall_tau",
    "cosine_similarity",
    "structural_similarity",
    "centre_shift",
    "magnitude",
    # how stable they are
    "AttributionAttack",
    "MapObjective",
    "TopK",
    "MassCentre",
    "attack_attribution",
    "random_signs",
    "TargetedAttack",
    "targeted_attack",
    "LocalLipschitz",
    "local_lipschitz",
    "MaxSensitivity",
    "max_sensitivity",
    "RelativeStability",
    "relative_stability",
    # how faithful they are
    "Baseline",
    "ConstantBaseline",
    "MeanBaseline",
    "BlurBaseline",
    "NoiseBaseline",
    "SampleBaseline",
    "RemovalCurve",
    "RemovalScore",
    "deletion",
    "insertion",
    "PixelFlipping",
    "pixel_flipping",
    "road",
    "Roar",
    "roar",
    "Infidelity",
    "infidelity",
    "SensitivityN",
    "sensitivity_n",
    "ParameterRandomisation",
    "parameter_randomisation",
    # training samples behind a prediction
    "Representer",
    "Representers",
    "SampleLoss",
    "L2Head",
    "fit_l2_head",
    "l2_representers",
    "l1_representers",
    "nuclear_representers",
    "DeletionEffect",
    "deletion_effect",
]
