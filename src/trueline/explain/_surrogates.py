"""What an attack on maps follows: the gradient of a network of ReLUs is constant between its folds and has no slope."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from trueline.contracts import check_samples
from trueline.steer import audit_activations, steer

GUIDES = (0.95, 0.9, 0.8)  # of softplus twins, from nearly as sharp as ReLU to smooth
_SMOOTH = {
    "gelu", "silu", "elu", "selu", "celu", "softplus", "mish", "glu", "sigmoid", "tanh", "log_sigmoid",
}  # fmt: skip


def surrogates_of(
    model: nn.Module, inputs: Float[Tensor, "N *shape"], given: Sequence[nn.Module] | None
) -> list[nn.Module]:
    """Return the networks whose maps are followed in the place of the model's.

    Args:
        model: what is attacked.
        inputs: (N, ...) samples.
        given: the caller's, which are checked; or None for twins of the model that are softplus where it has ReLU, at
            β = .95, .9 and .8, and the model itself if it also has a smooth activation; the model alone if it has no
            ReLU.

    Raises:
        ValueError: if the caller gives none, or one with a batch-norm layer without running statistics.
        TypeError: if one is no module.
    """
    if given is not None:
        if not given:
            raise ValueError("surrogates must be at least one network to follow, got none; None chooses them")
        for network in given:
            check_samples(network, inputs)
        return list(given)
    example = inputs[:2].detach()
    calls = audit_activations(model, example).calls
    folded = any(call.steerable and call.kind not in _SMOOTH for call in calls)
    bent = any(call.steered or call.kind in _SMOOTH for call in calls)
    twins = [steer(model, beta, mix=0.0, example=example) for beta in GUIDES] if folded else []
    return [*([model] if bent or not folded else []), *twins]
