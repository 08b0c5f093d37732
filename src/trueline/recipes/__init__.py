"""Named experiments: functions that return the runs they compare and the published claims they test."""

from trueline.contracts import Catalogue
from trueline.recipes._attribution_attention_digits import attribution_attention_digits
from trueline.recipes._attribution_curvature_digits import attribution_curvature_digits
from trueline.recipes._claim import Claim, Judgement, judge
from trueline.recipes._conformal_coverage import conformal_coverage
from trueline.recipes._conformal_early_stopping import conformal_early_stopping
from trueline.recipes._counterfactual_cifar10_resnet56 import counterfactual_cifar10_resnet56
from trueline.recipes._counterfactual_digits import counterfactual_digits
from trueline.recipes._demo import demo_runs
from trueline.recipes._double_descent_cifar10 import double_descent_cifar10
from trueline.recipes._double_descent_epochs import double_descent_epochs
from trueline.recipes._double_descent_interpolation import double_descent_interpolation
from trueline.recipes._double_descent_lipschitz import double_descent_lipschitz
from trueline.recipes._double_descent_regions import double_descent_regions
from trueline.recipes._dps_calibration_cifar10 import dps_calibration_cifar10
from trueline.recipes._dps_noise_digits import dps_noise_digits
from trueline.recipes._dps_resnet18_cifar10 import dps_resnet18_cifar10
from trueline.recipes._dps_warmup import dps_warmup
from trueline.recipes._edge_of_stability import edge_of_stability
from trueline.recipes._explanation_spectra_cifar10 import explanation_spectra_cifar10
from trueline.recipes._explanation_spectra_digits import explanation_spectra_digits
from trueline.recipes._figure import write_figure
from trueline.recipes._geometry_cifar10_resnets import geometry_cifar10_resnets
from trueline.recipes._gradient_regularisation_digits import gradient_regularisation_digits
from trueline.recipes._h_calibration_files import h_calibration_files
from trueline.recipes._human_noise_cifar10 import human_noise_cifar10
from trueline.recipes._hyperplane_arrangements import hyperplane_arrangements
from trueline.recipes._noise_aware_coverage_cifar10n import noise_aware_coverage_cifar10n
from trueline.recipes._recalibration_densenet import recalibration_densenet
from trueline.recipes._recipe import Recipe
from trueline.recipes._reproduce import Reproduction, reproduce
from trueline.recipes._steer_attributions import steer_attributions
from trueline.recipes._steer_attributions_cifar10 import steer_attributions_cifar10
from trueline.recipes._steer_cifar10_resnets import steer_cifar10_resnets
from trueline.recipes._steer_circles import steer_circles
from trueline.recipes._steer_spiral import steer_spiral
from trueline.recipes._steer_transfer_digits import steer_transfer_digits
from trueline.recipes._study import Study

__all__ = [
    "RECIPES",
    "Claim",
    "Judgement",
    "Recipe",
    "Reproduction",
    "Study",
    "attribution_attention_digits",
    "attribution_curvature_digits",
    "conformal_coverage",
    "conformal_early_stopping",
    "counterfactual_cifar10_resnet56",
    "counterfactual_digits",
    "demo_runs",
    "double_descent_cifar10",
    "double_descent_epochs",
    "double_descent_interpolation",
    "double_descent_lipschitz",
    "double_descent_regions",
    "dps_calibration_cifar10",
    "dps_noise_digits",
    "dps_resnet18_cifar10",
    "dps_warmup",
    "edge_of_stability",
    "explanation_spectra_cifar10",
    "explanation_spectra_digits",
    "geometry_cifar10_resnets",
    "gradient_regularisation_digits",
    "h_calibration_files",
    "human_noise_cifar10",
    "hyperplane_arrangements",
    "judge",
    "noise_aware_coverage_cifar10n",
    "recalibration_densenet",
    "reproduce",
    "steer_attributions",
    "steer_attributions_cifar10",
    "steer_cifar10_resnets",
    "steer_circles",
    "steer_spiral",
    "steer_transfer_digits",
    "write_figure",
]

RECIPES: Catalogue[Recipe | Study] = Catalogue(
    "recipe",
    {
        "dps-noise-digits": dps_noise_digits,
        "dps-warmup": dps_warmup,
        "dps-calibration-cifar10": dps_calibration_cifar10,
        "human-noise-cifar10": human_noise_cifar10,
        "dps-resnet18-cifar10": dps_resnet18_cifar10,
        "steer-spiral": steer_spiral,
        "steer-circles": steer_circles,
        "steer-attributions": steer_attributions,
        "steer-attributions-cifar10": steer_attributions_cifar10,
        "steer-transfer-digits": steer_transfer_digits,
        "steer-cifar10-resnets": steer_cifar10_resnets,
        "gradient-regularisation-digits": gradient_regularisation_digits,
        "double-descent-interpolation": double_descent_interpolation,
        "double-descent-lipschitz": double_descent_lipschitz,
        "double-descent-regions": double_descent_regions,
        "double-descent-epochs": double_descent_epochs,
        "double-descent-cifar10": double_descent_cifar10,
        "hyperplane-arrangements": hyperplane_arrangements,
        "edge-of-stability": edge_of_stability,
        "geometry-cifar10-resnets": geometry_cifar10_resnets,
        "counterfactual-digits": counterfactual_digits,
        "counterfactual-cifar10-resnet56": counterfactual_cifar10_resnet56,
        "explanation-spectra-digits": explanation_spectra_digits,
        "attribution-curvature-digits": attribution_curvature_digits,
        "attribution-attention-digits": attribution_attention_digits,
        "explanation-spectra-cifar10": explanation_spectra_cifar10,
        "conformal-coverage": conformal_coverage,
        "conformal-early-stopping": conformal_early_stopping,
        "recalibration-densenet": recalibration_densenet,
        "h-calibration-files": h_calibration_files,
        "noise-aware-coverage-cifar10n": noise_aware_coverage_cifar10n,
    },
)
"""Recipes and studies by the name that ``trueline reproduce`` takes."""
