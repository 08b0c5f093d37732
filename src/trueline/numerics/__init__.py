"""Shared mathematics: binning, intervals, roots of monotone functions, eigenvalues and traces of large matrices."""

from trueline.numerics._beta import beta_cdf, beta_quantile, clopper_pearson_interval
from trueline.numerics._bin_edges import equal_mass_edges, equal_mass_split, equal_width_edges
from trueline.numerics._binning import BinSums, BinTable, bin_index
from trueline.numerics._binomial import fair_coin_p_value
from trueline.numerics._channel_moments import ChannelMoments
from trueline.numerics._interval import Interval
from trueline.numerics._intervals import wilson_interval
from trueline.numerics._isotonic import isotonic_blocks, isotonic_fit
from trueline.numerics._lanczos import EigenPairs, KrylovSpace, lanczos_eigenpairs, lanczos_quadrature
from trueline.numerics._newton import newton_root
from trueline.numerics._order_statistic import conformal_rank, order_statistic
from trueline.numerics._ranks import average_ranks
from trueline.numerics._student import mean_interval, student_quantile
from trueline.numerics._trace_estimate import TraceEstimate, trace_estimate

__all__ = [
    "BinSums",
    "BinTable",
    "ChannelMoments",
    "EigenPairs",
    "Interval",
    "KrylovSpace",
    "TraceEstimate",
    "average_ranks",
    "beta_cdf",
    "beta_quantile",
    "bin_index",
    "clopper_pearson_interval",
    "conformal_rank",
    "equal_mass_edges",
    "equal_mass_split",
    "equal_width_edges",
    "fair_coin_p_value",
    "isotonic_blocks",
    "isotonic_fit",
    "lanczos_eigenpairs",
    "lanczos_quadrature",
    "mean_interval",
    "newton_root",
    "order_statistic",
    "student_quantile",
    "trace_estimate",
    "wilson_interval",
]
