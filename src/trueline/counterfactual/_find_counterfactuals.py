"""Counterfactuals by a search whose answer does not depend on the scale of the logits or of the embedding."""

from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import method
from trueline.counterfactual._class_pair import lead_over_all
from trueline.counterfactual._counterfactuals import Counterfactuals, counterfactuals_of
from trueline.counterfactual._search import Place, Walk, flips_to_target, search
from trueline.counterfactual._source import GEMOU_2026
from trueline.counterfactual._support import Support


@method(
    GEMOU_2026,
    cost="two passes of the head a step and example that has not ended, and, with a support weight, its distances to "
    "the reference examples of one class",
)
def find_counterfactuals(
    head: nn.Module,
    z: Float[Tensor, "N *shape"],
    support: Support,
    target: Int64[Tensor, " N"] | None = None,
    *,
    step: float = 0.02,
    radius: float = 1.0,
    steps: int = 300,
    support_weight: float = 2.0,
    exclude: Int64[Tensor, " N"] | None = None,
    chunk_size: int | None = None,
) -> Counterfactuals:
    """Return, for each example, a near point with another prediction that looks like the data of its class.

    ``z ← Π(z + step·s·clip(∇m/‖∇m‖ + support_weight·p_t(z)/s))`` with ``m = h_t - max_(c≠t) h_c``: up the lead of the
    target class t over all others, and towards the data of t, by the pull p of the support, in units of its ``scale``
    s. ``clip`` shortens to length 1 and Π returns to the ball of radius ``radius·s`` around the example. It stops as
    soon as t is predicted.

    It differs from the published probe (:func:`published_probe_later`) in that nothing is measured in absolute units:
    multiplying the logits by a number changes nothing, and multiplying the embedding, or turning it, changes the end
    points in the same way. Its objective is what decides the prediction, not the logit of the target alone; nor
    the lead over the class that was predicted, since a third class may overtake both on the way.

    Args:
        head: from embeddings to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two: a linear layer, or a whole
            network, whose embedding is its input. It is run in evaluation mode and left as found.
        z: (N, ...) embeddings, floating point, on the head's device, of the shape of the reference examples.
        support: where data are, such as a :class:`LocalSupport`.
        target: (N,) classes other than the predicted ones, int64; None for the runners-up.
        step: largest length of a step, in units of ``support.scale``, above 0; a flip ends at most that far behind the
            boundary.
        radius: of the ball, in the same units, above 0; 1 is as far as two examples usually are from each other, which
            leaves room for the boundary between well separated classes, half that far.
        steps: most steps, at least 1.
        support_weight: at least 0; with 2 data at half a scale pull as strongly as the lead, with 0 not at all. More of
            it makes more of the flips supported, and may miss a flip that was near.
        exclude: (N,) row of the reference set that an example is itself, -1 for none; None where the examples are not
            in it.
        chunk_size: examples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of all examples, on the CPU. The best point is returned where nothing flipped, with the reason.

    Raises:
        ValueError: if an argument is out of range, a shape does not fit, logits are not finite or do not depend on the
            embedding, or a target is predicted already.
        TypeError: if a dtype is wrong, or the head is not a module that returns a tensor.

    Example:
        >>> import torch
        >>> from trueline.counterfactual import LocalSupport
        >>> reference = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> head = nn.Linear(2, 2)
        >>> _ = head.load_state_dict({"weight": torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), "bias": torch.zeros(2)})
        >>> support = LocalSupport(reference, (reference[:, 0] > 0).long(), k=5)
        >>> found = find_counterfactuals(head, torch.tensor([[-0.3, 0.2], [-9.0, 0.0]]), support)
        >>> found.status, bool(found.end[0, 0] > 0)
        (('flipped', 'out of radius'), True)
    """
    if not step > 0:
        raise ValueError(f"step must be above 0, got {step}")
    if not 0 <= support_weight < float("inf"):
        raise ValueError(f"support_weight must be at least 0 and finite, got {support_weight}")
    support.check_shape(z)
    scale = support.scale

    def move(place: Place, gradient: Tensor) -> Tensor:
        slope = gradient.norm(dim=1, keepdim=True)
        way = gradient / slope.where(slope > 0, 1)
        if support_weight:
            pull = support.pull(place.z, place.pair.target, exclude=place.exclude).to(way.device)
            way = way + support_weight / scale * pull
        length: Tensor = way.norm(dim=1, keepdim=True)
        stride: Tensor = way * (step * scale / length.clamp_min(1))
        return stride

    walk = Walk(lead_over_all, move, flips_to_target, radius=radius * scale, steps=steps, patient=False)
    found = search(head, z, target, exclude, walk, chunk_size)
    options = {"step": step, "radius": radius, "steps": steps, "support_weight": support_weight, "scale": scale}
    return counterfactuals_of(
        found, head, z, support, exclude, chunk_size=chunk_size, method="find_counterfactuals", options=options
    )
