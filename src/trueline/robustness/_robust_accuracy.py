"""Accuracy in the worst case over several attacks, by Croce and Hein (2020)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import check_labels, method, unknown_name
from trueline.robustness._apgd import REFERENCE, apgd_ce, apgd_dlr, apgd_dlr_targeted
from trueline.robustness._ball import BALLS, Ball, Norm
from trueline.robustness._frozen_model import FrozenModel, frozen
from trueline.robustness._pass_counter import PassCounter
from trueline.robustness._pgd import pgd
from trueline.robustness._robustness_record import AttackRow, RobustAccuracy
from trueline.robustness._search import check_counts, check_inputs, check_radius, seeded
from trueline.robustness._square import square_attack

Attack = Callable[..., Tensor]  # (model, inputs, labels, *, norm, radius, generator) -> inputs

ATTACKS: dict[str, Attack] = {
    "pgd": pgd,
    "apgd_ce": apgd_ce,
    "apgd_dlr": apgd_dlr,
    "apgd_dlr_targeted": apgd_dlr_targeted,
    "square": square_attack,
}
_SLACK = 1e-3  # an attack may miss the radius by this share of it and by rounding; more is a mistake in its units


@method(
    REFERENCE,
    cost="one forward pass, and the cost of each attack and one forward pass for the samples that those before it left",
)
def robust_accuracy(
    model: nn.Module,
    inputs: Float[Tensor, "N ..."],
    labels: Int64[Tensor, " N"],
    *,
    norm: Norm = "linf",
    radius: float,
    attacks: Sequence[str] | Mapping[str, Attack] = ("apgd_ce", "apgd_dlr_targeted", "square"),
    batch_size: int = 128,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RobustAccuracy:
    """Return the share of samples that stay right whatever the attacks try within a radius.

    ``mean_i min_a [argmax f(x_i^a) = y_i]`` over the attacks a and the clean inputs. It bounds the true robust accuracy
    from above: a stronger attack may find what these missed. A sample that one attack breaks is not given to the next,
    and what an attack returns is never believed: it is checked to be in the ball and classified anew.

    Gradient attacks fail where gradients are useless (rounding, saturation, randomness), and then a weak model looks
    robust. The sign of it is an attack without gradients that breaks what they left; see ``masking_suspected`` of the
    result.

    Args:
        model: from inputs in [0, 1] to logits (B, C), with its normalisation inside (``models.Normalized``); evaluated
            in evaluation mode and left as found.
        inputs: (N, ...) in [0, 1], float32 or float64, N at least 1. They are moved to the model's device batch by
            batch. ``"square"`` takes images (N, C, H, W) only.
        labels: (N,) class numbers, int64.
        norm: ``"linf"`` for the largest change of an entry, ``"l2"`` for the Euclidean length of the change.
        radius: largest change in the norm, in units of the inputs; 8 grey levels are 8/255. Zero gives the clean
            accuracy.
        attacks: names among ``"pgd"``, ``"apgd_ce"``, ``"apgd_dlr"``, ``"apgd_dlr_targeted"`` and ``"square"``, or
            callables by name, called as ``attack(model, inputs, labels, norm=, radius=, generator=)``; other
            options of ours through ``functools.partial``. They run in the given order, so the cheap ones go first.
        batch_size: samples attacked at once, at least 1. Random draws depend on it.
        generator: source of randomness; None for one on the CPU seeded with 0.
        progress: called after every batch with the samples done and their number, over all attacks; or None.

    Returns:
        Which samples are right, which stay right, what broke the others, accuracies, and the passes spent.

    Raises:
        ValueError: if an argument, or what the model or an attack returns, is not what is described above.
        TypeError: if a dtype is wrong, or the model is not a module.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.eye(2))
        >>> inputs, labels = torch.tensor([[0.5, 0.4], [0.9, 0.1], [0.1, 0.2]]), torch.tensor([0, 0, 0])
        >>> result = robust_accuracy(model, inputs, labels, radius=0.1, attacks=("apgd_ce",))
        >>> result.clean.tolist(), result.robust.tolist(), result.broken_by
        ([True, True, False], [False, True, False], ('apgd_ce', None, None))
    """
    chosen = _chosen(attacks)
    check_inputs(inputs, labels)
    check_radius(norm, radius)
    check_counts(batch_size=batch_size)
    if not len(inputs):
        raise ValueError("robust_accuracy needs at least one sample, got none")
    generator, inputs = seeded(generator), inputs.detach()
    report = progress or (lambda done, total: None)
    samples, total = len(inputs), len(inputs) * (1 + len(chosen))
    right = torch.zeros(samples, dtype=torch.bool)
    broken_by: list[str | None] = [None] * samples
    rows = []
    with frozen(model):
        counted, device = PassCounter(model), _device(model, inputs)
        network = FrozenModel(counted)
        for rest in _parts(torch.arange(samples), batch_size):
            batch, classes = _part(inputs, labels, rest, device)
            right[rest] = _right(network, batch, classes)
            report(int(rest[-1]) + 1, total)
        clean = right.clone()
        for stage, (name, attack) in enumerate(chosen.items(), start=1):
            counted.forward_passes = counted.backward_passes = 0
            left = right.nonzero().squeeze(1)[: samples if radius > 0 else 0]
            done = (stage + 1) * samples - len(left)
            for rest in _parts(left, batch_size):
                batch, classes = _part(inputs, labels, rest, device)
                with torch.enable_grad():
                    found = attack(counted, batch, classes, norm=norm, radius=radius, generator=generator)
                right[rest] = _right(network, _inside(found, BALLS[norm](batch, radius), name), classes)
                done += len(rest)
                report(done, total)
            broken = left[~right[left]].tolist()
            for place in broken:
                broken_by[place] = name
            passes = counted.forward_passes, counted.backward_passes
            rows.append(AttackRow(name, len(left), len(broken), int(right.sum()) / samples, *passes))
        report(total, total)
    return RobustAccuracy(
        norm=norm, radius=float(radius), clean=clean, robust=right, broken_by=tuple(broken_by), attacks=tuple(rows)
    )


def _chosen(attacks: Sequence[str] | Mapping[str, Attack]) -> dict[str, Attack]:
    if isinstance(attacks, str):  # a string is a sequence of strings
        raise TypeError(f"attacks must be a sequence of names or a mapping, got {attacks!r}; pass ({attacks!r},)")
    if not isinstance(attacks, Mapping):
        for name in attacks:
            if name not in ATTACKS:
                raise ValueError(unknown_name("attack", name, ATTACKS))
        if len(set(attacks)) < len(attacks):
            raise ValueError(f"each attack may be named once, got {tuple(attacks)}")
        attacks = {name: ATTACKS[name] for name in attacks}
    if not attacks:
        raise ValueError(f"robust_accuracy needs at least one attack, got none; known: {', '.join(ATTACKS)}")
    return dict(attacks)


def _device(model: nn.Module, inputs: Tensor) -> torch.device:
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), inputs.device)


def _parts(rows: Tensor, size: int) -> Iterator[Tensor]:
    return (rows[start : start + size] for start in range(0, len(rows), size))  # none of none, unlike split()


def _part(inputs: Tensor, labels: Tensor, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    return inputs[rows.to(inputs.device)].to(device), labels[rows.to(labels.device)].to(device)


def _right(network: FrozenModel, inputs: Tensor, labels: Tensor) -> Tensor:
    logits = network.logits(inputs)
    check_labels(labels, *logits.shape)
    return (logits.argmax(dim=1) == labels).cpu()


def _inside(found: object, ball: Ball, name: str) -> Tensor:
    """Return what an attack found, in the ball to the last bit, or say how far from it it is."""
    if not isinstance(found, Tensor) or found.shape != ball.centre.shape:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"attack {name!r} must return inputs of shape {tuple(ball.centre.shape)}, got {got}")
    points = found.detach().to(ball.centre)
    if not points.isfinite().all():
        raise ValueError(f"attack {name!r} must return finite inputs")
    far, low, high = (value.item() for value in (ball.distance(points).amax(), *points.aminmax()))
    rounding = torch.finfo(points.dtype).eps * math.sqrt(points[0].numel())
    if far > ball.radius * (1 + _SLACK) + rounding or low < -_SLACK or high > 1 + _SLACK:
        raise ValueError(
            f"attack {name!r} must stay within radius {ball.radius:.6g} and in [0, 1], but went {far:.6g} far and to "
            f"values from {low:.4g} to {high:.4g}; are its units those of the images?"
        )
    return ball.project(points)
