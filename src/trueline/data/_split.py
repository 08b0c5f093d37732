"""Stratified splits of exact sizes."""

from fractions import Fraction

import torch
from jaxtyping import Int64
from torch import Tensor

from trueline.data._source import Source, Splits

TEST_FRACTION = 0.2


def split(
    source: Source,
    *,
    validation: float = 0.1,
    calibration: float = 0.1,
    test: float | None = None,
    train_size: int | None = None,
    seed: int = 0,
) -> Splits:
    """Cut a data set into parts that hold the true classes in equal proportions.

    Sizes are the fractions of N rounded by largest remainder, so they add up to N; each part is then shared
    among the classes in the same way. Samples keep their order inside a part.

    Args:
        source: the data set.
        validation: fraction of ``source.train`` in [0, 1).
        calibration: fraction of ``source.train`` in [0, 1).
        test: fraction of ``source.train`` in (0, 1), by default 0.2; must stay None for a source with its own test
            set, which is then taken whole.
        train_size: keep that many training samples, stratified; None keeps all.
        seed: chooses the members; the same seed gives the same parts.

    Returns:
        The four parts.

    Raises:
        ValueError: if a fraction is out of range, a part that needs samples is empty, or a class has no training
            sample left.

    Example:
        >>> from trueline.data import digits
        >>> parts = split(digits())
        >>> [len(part) for part in (parts.train, parts.validation, parts.calibration, parts.test)]
        [1078, 180, 180, 359]
    """
    if test is not None and source.test is not None:
        raise ValueError(
            f"this data set has its own test set of {len(source.test)} samples; leave test out, got {test}"
        )
    held_out = {"validation": validation, "calibration": calibration}
    if source.test is None:
        held_out["test"] = TEST_FRACTION if test is None else test
    sizes = _sizes(held_out, len(source.train))

    labels = source.train.true_labels
    generator = torch.Generator().manual_seed(seed)
    rest = torch.randperm(len(labels), generator=generator)
    parts = {}
    for name in held_out:
        parts[name], rest = _take(rest, labels, sizes[name])
    if train_size is not None:
        if not 1 <= train_size <= len(rest):
            raise ValueError(
                f"train_size must lie in [1, {len(rest)}], the samples left for training, got {train_size}"
            )
        rest, _ = _take(rest, labels, train_size)
    _check_every_class(labels[rest], source.train.class_names)
    return Splits(
        train=source.train.select(rest.sort().values),
        validation=source.train.select(parts["validation"].sort().values),
        calibration=source.train.select(parts["calibration"].sort().values),
        test=source.test if source.test is not None else source.train.select(parts["test"].sort().values),
    )


def _sizes(held_out: dict[str, float], total: int) -> dict[str, int]:
    for name, fraction in held_out.items():
        if not 0 <= fraction < 1:
            raise ValueError(f"{name} must be a fraction in [0, 1), got {fraction}")
    # through their decimal text, so that 0.29 of 100 is 29
    exact = {name: Fraction(str(fraction)) for name, fraction in held_out.items()}
    exact["train"] = 1 - sum(exact.values(), Fraction(0))
    if exact["train"] <= 0:
        raise ValueError(f"nothing is left for training: the fractions {held_out} must add up to less than 1")
    return dict(zip(exact, _largest_remainder(list(exact.values()), total), strict=True))


def _largest_remainder(shares: list[Fraction], total: int) -> list[int]:
    """Round shares that sum to one to whole parts of the total; ties go to the first."""
    quotas = [share * total for share in shares]
    parts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(shares)), key=lambda i: parts[i] - quotas[i])
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def _take(
    pool: Int64[Tensor, " M"], labels: Int64[Tensor, " N"], size: int
) -> tuple[Int64[Tensor, " K"], Int64[Tensor, " R"]]:
    """Move ``size`` positions out of the shuffled pool, in proportion to the classes in it."""
    counts = labels[pool].bincount().tolist()
    quotas = _largest_remainder([Fraction(count, len(pool)) for count in counts], size)
    taken = torch.zeros(len(pool), dtype=torch.bool)
    for label, quota in enumerate(quotas):
        taken[(labels[pool] == label).nonzero()[:quota]] = True
    return pool[taken], pool[~taken]


def _check_every_class(labels: Tensor, class_names: tuple[str, ...]) -> None:
    counts = labels.bincount(minlength=len(class_names))
    empty = [name for name, count in zip(class_names, counts.tolist(), strict=True) if not count]
    if empty:
        raise ValueError(
            f"every class needs a training sample, but none is left of {', '.join(repr(name) for name in empty)}; "
            "raise train_size, hold out less, or drop the class"
        )
