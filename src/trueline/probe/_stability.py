"""Is the step size what limits the curvature of the loss? Measured while a network is trained."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from trueline.contracts import ACCENT, Record, Reference, import_optional, method, plain_chart, unknown_name
from trueline.numerics import lanczos_eigenpairs, trace_estimate
from trueline.probe._batch_sharpness import batch_sharpness
from trueline.probe._loss_hessian import LossHessian
from trueline.probe._stability_threshold import stability_threshold

QUANTITIES = ("sharpness", "trace", "batch_sharpness")


@dataclass(frozen=True, eq=False)
class Stability(Record):
    """The curvature of the training loss beside what the optimiser's step size allows; None where not measured.

    Args:
        loss: mean training loss on the monitored samples. The bound on the trace is about minima that fit every
            sample, where it is near zero.
        learning_rate: the step size η.
        threshold: of the largest eigenvalue, see :func:`stability_threshold`.
        sharpness: largest eigenvalue of the Hessian; with Adam, of the Hessian preconditioned by its running scales.
        sharpness_ratio: of the sharpness to the threshold; it hovers at 1 where the step size limits it.
        trace: of the Hessian.
        trace_error: its standard error.
        trace_ratio: ``η·trace/2``; at most 1 at a minimum that fits every sample and is stable with batches of one.
            None with momentum or Adam, for which no such bound is known to us.
        batch_sharpness: see :func:`batch_sharpness`.
        batch_sharpness_error: its standard error.
        batch_sharpness_ratio: ``η·batch_sharpness/2``; None with momentum or Adam.
    """

    loss: float
    learning_rate: float
    threshold: float
    sharpness: float | None = None
    sharpness_ratio: float | None = None
    trace: float | None = None
    trace_error: float | None = None
    trace_ratio: float | None = None
    batch_sharpness: float | None = None
    batch_sharpness_error: float | None = None
    batch_sharpness_ratio: float | None = None

    units: ClassVar[Mapping[str, str]] = {
        "loss": "unit of the loss",
        "learning_rate": "unit of the weights squared / unit of the loss",
        **dict.fromkeys(
            ("threshold", "sharpness", "trace", "trace_error", "batch_sharpness", "batch_sharpness_error"),
            "unit of the loss / unit of the weights squared",
        ),
        **dict.fromkeys(("sharpness_ratio", "trace_ratio", "batch_sharpness_ratio"), "1"),
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [f"training loss {self.loss:.4g}, step size {self.learning_rate:.4g}, threshold {self.threshold:.4g}"]
        if self.sharpness is not None and self.sharpness_ratio is not None:
            lines.append(f"sharpness {self.sharpness:.4g}, {self.sharpness_ratio:.3f} of the threshold")
        for name, title in (("trace", "trace"), ("batch_sharpness", "batch sharpness")):
            value, error, ratio = (getattr(self, f"{name}{part}") for part in ("", "_error", "_ratio"))
            if value is not None:
                tail = "" if ratio is None else f"; times η/2: {ratio:.3f}"
                lines.append(f"{title} {value:.4g} (standard error {error:.2g}){tail}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: each ratio that was measured; 1 is the edge of stability.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="Stability.plot()")
        ratios = {name: getattr(self, f"{name}_ratio") for name in QUANTITIES}
        rows = [{"of": name.replace("_", " "), "ratio": ratio} for name, ratio in ratios.items() if ratio is not None]
        chart = alt.Chart(alt.Data(values=rows)).mark_bar(color=ACCENT)
        return plain_chart(chart.encode(x=alt.X("ratio:Q", title="ratio to 2/η"), y=alt.Y("of:N", title=None)))


class StabilityMonitor:
    """Measure, on fixed training samples, how near an optimiser is to the edge of its stability.

    For a training loop of your own: make one before it, and call :meth:`measure` every few hundred steps. The model is
    run in evaluation mode and left as found, as is the random state, so that training goes on as without it. In
    Trueline's own training the table ``[stability]`` of a configuration does this.

    Args:
        inputs: (N, ...) training samples as the model takes them; a few thousand are enough.
        labels: (N,) their class numbers, int64, or what the loss takes.
        batch_size: of the training, for the batch sharpness.
        loss: the loss that is trained, with the mean over samples: ``"cross_entropy"``, ``"squared"`` or a function
            that returns one value per sample. Weight decay is not in it.
        quantities: what is measured: the sharpness costs some tens of Hessian-vector products, the trace one for
            each probe, the batch sharpness about two gradients for each batch.
        probes: for the trace.
        batches: most batches for the batch sharpness.
        chunk_size: samples at once, None for all.

    Raises:
        ValueError: if a quantity is not known, or there are none.

    Example:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> optimizer = SGD(model.parameters(), lr=0.1)
        >>> monitor = StabilityMonitor(torch.eye(2), torch.zeros(2, 1), batch_size=1, loss="squared")
        >>> found = monitor.measure(model, optimizer)
        >>> round(found.sharpness, 4), round(found.sharpness_ratio, 4)  # of I/2, against 2/0.1
        (0.5, 0.025)
    """

    def __init__(
        self,
        inputs: Float[Tensor, "N *shape"],
        labels: Shaped[Tensor, "N *target"],
        *,
        batch_size: int,
        loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
        quantities: Sequence[str] = QUANTITIES,
        probes: int = 16,
        batches: int = 100,
        chunk_size: int | None = None,
    ) -> None:
        for name in quantities:
            if name not in QUANTITIES:
                raise ValueError(unknown_name("quantity", name, QUANTITIES))
        if not quantities:
            raise ValueError(f"quantities must name at least one of {', '.join(QUANTITIES)}")
        self._inputs, self._labels, self._loss = inputs, labels, loss
        self._batch_size, self._quantities = batch_size, quantities
        self._probes, self._batches, self._chunk_size = probes, batches, chunk_size

    @method(
        Reference(
            authors="Lei Wu, Weijie J. Su",
            title="The Implicit Regularization of Dynamical Stability in Stochastic Gradient Descent",
            venue="ICML",
            year=2023,
            arxiv="2305.17490",
        ),
        cost="some tens of Hessian-vector products on all samples, and two gradients for each batch",
    )
    def measure(self, model: nn.Module, optimizer: Optimizer) -> Stability:
        """Return the curvature as it is now, beside what the optimiser's present step size allows.

        Args:
            model: the one that is trained.
            optimizer: ``SGD``, ``Adam`` or ``AdamW`` over its parameters, all with the same options. Before Adam's
                first step there is no preconditioner, so that its sharpness is None.

        Returns:
            The record.

        Raises:
            TypeError: if it is another optimiser.
            ValueError: if its groups have different options, or as :func:`hessian_eigenvalues`.
        """
        options = _options_of(optimizer)
        rate, adaptive = float(options["lr"]), isinstance(optimizer, Adam | AdamW)
        momentum = 0.0 if adaptive else float(options["momentum"])
        plain = not adaptive and momentum == 0
        if adaptive:
            # What heavy-ball momentum in Adam's form allows: the gradient enters with the weight 1 - β.
            first = float(options["betas"][0])
            threshold = stability_threshold(rate * (1 - first), momentum=first)
        else:
            threshold = stability_threshold(rate, momentum=momentum, nesterov=bool(options["nesterov"]))
        hessian = LossHessian(model, self._inputs, self._labels, loss=self._loss, chunk_size=self._chunk_size)
        found: dict[str, float | None] = {}
        if "sharpness" in self._quantities:
            scale = _adam_scale(model, optimizer, hessian) if adaptive else None
            sharpness = None if adaptive and scale is None else _largest(hessian, scale)
            ratio = None if sharpness is None else sharpness / threshold
            found |= {"sharpness": sharpness, "sharpness_ratio": ratio}
        if "trace" in self._quantities:
            trace = trace_estimate(
                hessian.matmat,
                hessian.shape[0],
                probes=self._probes,
                device=hessian.device,
                generator=torch.Generator().manual_seed(0),
            )
            found |= {"trace": trace.trace, "trace_error": trace.standard_error}
            found["trace_ratio"] = rate * trace.trace / 2 if plain else None
        if "batch_sharpness" in self._quantities:
            batch = batch_sharpness(
                model,
                self._inputs,
                self._labels,
                batch_size=min(self._batch_size, len(self._inputs)),
                batches=self._batches,
                loss=self._loss,
            )
            found |= {"batch_sharpness": batch.sharpness, "batch_sharpness_error": batch.standard_error}
            found["batch_sharpness_ratio"] = rate * batch.sharpness / 2 if plain else None
        return Stability(loss=hessian.loss, learning_rate=rate, threshold=threshold, **found)


def _options_of(optimizer: Optimizer) -> dict[str, Any]:
    if not isinstance(optimizer, SGD | Adam | AdamW):
        raise TypeError(f"optimizer must be SGD, Adam or AdamW, got {type(optimizer).__name__}")
    first, *others = optimizer.param_groups
    for key in ("lr", "momentum", "nesterov", "betas", "eps"):
        if any(group.get(key) != first.get(key) for group in others):
            raise ValueError(
                f"the optimiser's groups have different values of {key}, so that there is no one threshold"
            )
    return first


def _adam_scale(model: nn.Module, optimizer: Optimizer, hessian: LossHessian) -> Tensor | None:
    """Return ``1/√D`` for Adam's preconditioner ``D = √v̂ + ε``, in the order of the Hessian; None before a step."""
    parameters, parts = dict(model.named_parameters()), []
    (_, second), eps = optimizer.param_groups[0]["betas"], optimizer.param_groups[0]["eps"]
    for name in hessian.names:
        state = optimizer.state.get(parameters[name])
        if not state:
            return None
        mean = state["exp_avg_sq"].double() / (1 - second ** float(state["step"]))
        parts.append((mean.sqrt() + eps).rsqrt().flatten())
    return torch.cat(parts)


def _largest(hessian: LossHessian, scale: Tensor | None) -> float:
    def product(vector: Tensor) -> Tensor:
        if scale is None:
            return hessian.matmat(vector[:, None]).squeeze(1)
        return scale * hessian.matmat((scale * vector)[:, None]).squeeze(1)

    start = torch.randn(hessian.shape[0], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return float(lanczos_eigenpairs(product, start.to(hessian.device), k=1, which="largest").values[0])
