"""Quantile regression with a quadratic term, solved to the last digits by a primal-dual interior-point method."""

import torch
from jaxtyping import Float
from torch import Tensor

_STEPS = 200
_GAP = 1e-10  # the duality gap, relative to the mean outcome, at which the search ends
_CENTRING = 0.1
_RIDGE = 1e-10  # keeps the solution unique where features depend on each other


def pinball_program(
    design: Float[Tensor, "N D"],
    outcome: Float[Tensor, " N"],
    tau: float,
    quadratic: Float[Tensor, "D D"],
    linear: Float[Tensor, " D"],
) -> Float[Tensor, " D"]:
    """Return the weights g that minimise ``mean ρ_τ(outcome - design g) + g'Qg/2 - c'g``.

    With positive and negative parts u and v of the residuals this is a quadratic program whose dual variables lie in
    ``[(τ - 1)/N, τ/N]``. Newton steps on the perturbed optimality conditions reduce to one D by D system each. A ridge
    of 1e-10 of the mean squared feature makes the solution unique.

    Args:
        design: (N, D) features, float64.
        outcome: (N,) float64.
        tau: level of the quantile, in (0, 1).
        quadratic: (D, D) Q, symmetric and positive semidefinite.
        linear: (D,) c.

    Returns:
        (D,) the minimiser.

    Cost:
        ``O(N·D² + D³)`` for each of a few tens of steps.
    """
    number = len(outcome)
    identity = torch.eye(design.shape[1], dtype=design.dtype, device=design.device)
    quadratic = quadratic + _RIDGE * design.square().mean() * identity
    weights = torch.zeros_like(linear)
    size = outcome.abs().mean()
    scale = torch.where(size > 0, size, 1.0)
    above, below = outcome.clamp_min(0) + scale, (-outcome).clamp_min(0) + scale
    dual = torch.zeros_like(outcome)
    for _ in range(_STEPS):
        room, floor = tau / number - dual, (1 - tau) / number + dual
        gap = above @ room + below @ floor
        primal = outcome - design @ weights - above + below
        slope = quadratic @ weights - linear - design.T @ dual
        if gap <= _GAP * scale and slope.abs().max() <= _GAP * (1 + linear.abs().max()):
            break
        target = _CENTRING * gap / (2 * number)
        stiffness = 1 / (above / room + below / floor)
        shift = primal - (target / room - above) + (target / floor - below)
        system = quadratic + design.T @ (design * stiffness[:, None])
        step = torch.linalg.solve(system, design.T @ (stiffness * shift) - slope)
        dual_step = stiffness * (shift - design @ step)
        above_step = target / room - above + above / room * dual_step
        below_step = target / floor - below - below / floor * dual_step
        values = torch.cat([above, below, room, floor])
        changes = torch.cat([above_step, below_step, -dual_step, dual_step])
        length = (0.995 / (-changes / values).amax()).clamp(max=1.0) if (changes < 0).any() else 1.0
        weights, dual = weights + length * step, dual + length * dual_step
        above, below = above + length * above_step, below + length * below_step
    return weights
