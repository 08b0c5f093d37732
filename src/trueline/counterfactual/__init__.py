"""Counterfactuals: how near another prediction is, in which direction, and whether data lie there."""

from trueline.counterfactual._boundary_distance import BoundaryDistance, boundary_distance
from trueline.counterfactual._counterfactuals import Counterfactuals
from trueline.counterfactual._explanatory_regression import (
    ExplanatoryRegression,
    RegressionFit,
    explanatory_regression,
)
from trueline.counterfactual._find_counterfactuals import find_counterfactuals
from trueline.counterfactual._geometry_scales import GeometryScales, geometry_scales
from trueline.counterfactual._head_agreement import HeadAgreement, head_agreement
from trueline.counterfactual._head_lda import lda_head
from trueline.counterfactual._head_linear_svm import linear_svm_head
from trueline.counterfactual._head_logistic import logistic_head
from trueline.counterfactual._head_logistic_optimum import logistic_optimum_head
from trueline.counterfactual._head_mlp import mlp_head
from trueline.counterfactual._head_prototype import prototype_head
from trueline.counterfactual._head_ridge import ridge_head
from trueline.counterfactual._head_variation import HeadOutcome, HeadVariation, compare_heads, head_variation
from trueline.counterfactual._heads import fit_head
from trueline.counterfactual._local_curvature import local_curvature
from trueline.counterfactual._local_support import LocalSupport
from trueline.counterfactual._mahalanobis_support import MahalanobisSupport
from trueline.counterfactual._matched_variants import matched_variants
from trueline.counterfactual._minimum_flip import minimum_flip
from trueline.counterfactual._nearest_example import nearest_example
from trueline.counterfactual._published_probe import published_probe_first, published_probe_later
from trueline.counterfactual._search_trials import SearchTrials
from trueline.counterfactual._support import Support
from trueline.counterfactual._tune_grid import tune_grid
from trueline.counterfactual._tune_search import tune_search

__all__ = [  # noqa: RUF022  grouped by what they do
    "BoundaryDistance",
    "boundary_distance",
    "minimum_flip",
    # where data are
    "Support",
    "LocalSupport",
    "MahalanobisSupport",
    "local_curvature",
    # searches
    "Counterfactuals",
    "find_counterfactuals",
    "published_probe_first",
    "published_probe_later",
    "matched_variants",
    "nearest_example",
    "GeometryScales",
    "geometry_scales",
    "SearchTrials",
    "tune_search",
    "tune_grid",
    # heads
    "fit_head",
    "logistic_head",
    "logistic_optimum_head",
    "linear_svm_head",
    "ridge_head",
    "lda_head",
    "prototype_head",
    "mlp_head",
    "HeadAgreement",
    "head_agreement",
    "HeadOutcome",
    "HeadVariation",
    "compare_heads",
    "head_variation",
    # what explains success
    "RegressionFit",
    "ExplanatoryRegression",
    "explanatory_regression",
]
