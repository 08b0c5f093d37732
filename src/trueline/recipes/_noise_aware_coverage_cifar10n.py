"""Clean coverage from noisy human labels, after Penso, Goldberger and Fetaya (2025)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from trueline.conformal import APS, LAC, NoiseAware, SplitConformal
from trueline.contracts import ConformalClassifier, facts_of
from trueline.data import Examples, cifar10
from trueline.recipes._cifar10_run import cifar10_run
from trueline.recipes._claim import Claim
from trueline.recipes._dot_panel import dot_panel
from trueline.recipes._references import CIFAR10N_PAPER
from trueline.recipes._shared_data import shared_folder
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import side_by_side
from trueline.train import load_model, train, with_overrides

PEOPLE = {"aggregate": "label_aggregate", "random": "label_random1", "worst": "label_worst"}
DRAWN = "drawn uniformly", "drawn by class"  # as wrong as the last of these
KINDS = (*PEOPLE, *DRAWN)
ALPHA = 0.1
METHODS: dict[str, Callable[[], SplitConformal]] = {"LAC": lambda: LAC(ALPHA), "APS": lambda: APS(ALPHA)}
WAYS = ("naive", "uniform", "matrix")
OF = ("hard images", "easy images", "wrong labels", "blind labels")
EPOCHS, WIDTH, TRAINED = 12, 8, 9500
CALIBRATED = 5000  # images that calibrate; the other 5,000 of their file tell how often labels are wrong
ROUNDED = 0.01
AGREED, CLEAN = "agreed", "clean"
BATCH = 200


def noise_aware_coverage_cifar10n(folder: Path | None = None) -> Study:
    """Human labels of CIFAR-10N calibrate, clean labels judge: does knowing how wrong they are give 90 % coverage?

    A five-layer ConvNet of width 8 is trained for 12 epochs on 9,500 images with clean labels (SGD, no augmentation).
    5,000 other images with labels by people calibrate LAC and APS at alpha = .1: the ``aggregate`` of three people, one
    of them (``random``), or the ``worst`` of the three. Judged are the clean labels of the 10,000 test images. A seed
    draws the start of the network, its order, and which images calibrate.

    ``naive`` takes the labels as they are. ``uniform`` and ``matrix`` are ``NoiseAware``, told the share of labels that
    are replaced by a class drawn from all alike, or the matrix of how often each class is recorded as each; both are
    estimated from a further 5,000 images, for which clean and given labels are known. ``clean`` calibrates on the clean
    labels of the same images. ``coverage`` is the share of clean labels covered, ``off`` how far that is from 90 %, and
    ``size`` the mean number of classes in a set.

    What people do is neither kind of noise. For comparison labels are ``drawn uniformly``, as often wrong as the worst
    ones, and ``drawn by class``, by the matrix of the worst ones. ``hard`` images are those of the further 5,000 that
    the network gets wrong, ``easy`` ones the others: ``wrong`` is the share of wrong labels among them. ``likely`` is
    the mean probability that the network gives to a wrong label, and ``blind`` that of the other nine classes.

    Args:
        folder: with the shards in ``cifar10``; None for what the environment variable ``TRUELINE_DATA`` names.
    """
    claims = []
    for kind in KINDS:
        for method in METHODS:
            naive, uniform, matrix = (f"{kind}: {method}, {way}" for way in WAYS)
            clean = f"{CLEAN}: {method}"
            claims.append(Claim(f"{naive}: more than 90 % are covered", "coverage", naive, AGREED, "higher"))
            for aware in (uniform, matrix):
                claims += [
                    Claim(f"{aware}: closer to 90 % than naive", "off", aware, naive, "lower"),
                    Claim(f"{aware}: smaller sets than naive", "size", aware, naive, "lower"),
                    Claim(
                        f"{aware}: covers no less than clean labels do, within a point",
                        "coverage",
                        aware,
                        clean,
                        "higher",
                        margin=ROUNDED,
                    ),
                ]
    for kind in PEOPLE:
        hard, easy, wrong, blind = (f"{kind}: {of}" for of in OF)
        claims += [
            Claim(f"{kind}: more labels are wrong where the network is", "wrong", hard, easy, "higher"),
            Claim(f"{kind}: wrong labels are likelier than the other classes", "likely", wrong, blind, "higher"),
        ]
    return Study(
        name="noise-aware-coverage-cifar10n",
        summary="Coverage of clean labels by sets calibrated on human labels, naive and noise-aware.",
        references=(facts_of(NoiseAware).references[0], CIFAR10N_PAPER),
        variants=(
            *(f"{CLEAN}: {method}" for method in METHODS),
            *(f"{kind}: {method}, {way}" for kind in KINDS for method in METHODS for way in WAYS),
            *(
                f"{kind}: {of}"
                for kind in KINDS
                for of in ("hard images", "easy images", "wrong labels", "blind labels")
            ),
            AGREED,
        ),
        measure=partial(measure, folder),
        claims=tuple(claims),
        figure=figure,
    )


def measure(folder: Path | None, seed: int) -> dict[str, dict[str, float]]:
    """Train a network and return the coverage of all ways to calibrate it."""
    shards = shared_folder(folder) / "cifar10"
    source = cifar10(shards, shards=(1,))
    assert source.test is not None, "CIFAR-10 has a test set"
    network, mean, std = _trained(shards, seed)
    logits, test_logits = (_logits(network, part, mean, std) for part in (source.train, source.test))
    shuffled = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    used, known = shuffled[:CALIBRATED], shuffled[CALIBRATED:]
    clean, judged = source.train.true_labels, (source.test.true_labels, test_logits)

    found = {AGREED: {"coverage": 1 - ALPHA}}
    for name, make in METHODS.items():
        found[f"{CLEAN}: {name}"] = _covered(make().fit(clean[used], logits=logits[used]), *judged)
    labels = {kind: cifar10(shards, labels=column, shards=(1,)).train.labels for kind, column in PEOPLE.items()}
    labels |= dict(zip(DRAWN, drawn(clean, labels["worst"], logits.shape[1], seed), strict=True))
    for kind, given in labels.items():
        rate, matrix = noise_of(clean[known], given[known], logits.shape[1])
        for name, make in METHODS.items():
            ways = (make(), NoiseAware(make(), rate), NoiseAware(make(), matrix))
            for way, method in zip(WAYS, ways, strict=True):
                fitted = method.fit(given[used], logits=logits[used])
                found[f"{kind}: {name}, {way}"] = _covered(fitted, *judged)
        found |= {f"{kind}: {of}": row for of, row in _errors(logits[known], clean[known], given[known]).items()}
    return found


def noise_of(clean: Tensor, given: Tensor, classes: int) -> tuple[float, Tensor]:
    """Return how wrong labels are: the share that is replaced by a class drawn from all, and the (C, C) matrix.

    Args:
        clean: (N,) true labels, among which every class occurs.
        given: (N,) recorded labels.
        classes: C.
    """
    counts = torch.bincount(clean * classes + given, minlength=classes**2).view(classes, classes).double()
    rate = (clean != given).double().mean().item() * classes / (classes - 1)
    return rate, counts / counts.sum(dim=1, keepdim=True)


def drawn(clean: Tensor, given: Tensor, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return labels that are drawn to be as wrong as given ones: all classes alike, and by the matrix of the latter.

    Args:
        clean: (N,) true labels, among which every class occurs.
        given: (N,) recorded labels.
        classes: C.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    rate, matrix = noise_of(clean, given, classes)
    replaced = torch.rand(len(clean), generator=generator) < rate
    blind = torch.where(replaced, torch.randint(classes, clean.shape, generator=generator), clean)
    return blind, torch.multinomial(matrix[clean], 1, generator=generator).squeeze(1)


def _trained(shards: Path, seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network, and mean and standard deviation of the channels that it expects."""
    config = cifar10_run(
        "noise-aware-coverage-cifar10n",
        {"name": "cross_entropy"},
        train_size=TRAINED,
        epochs=EPOCHS,
        width=WIDTH,
        evaluate_every=EPOCHS,
    )
    changes = [f"data.folder={shards}", f"seed={seed}", "data.validation=0.05", "data.calibration=0"]
    with TemporaryDirectory() as folder:
        run = train(with_overrides(config, [*changes, "training.device=cpu"]), Path(folder) / "run", progress=False)
        facts = run.environment()["normalisation"]
        with torch.random.fork_rng(devices=[]):  # its weights are drawn before they are read
            network = load_model(run)
    mean, std = (torch.tensor(facts[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    return network, mean, std


@torch.inference_mode()
def _logits(network: nn.Module, images: Examples, mean: Tensor, std: Tensor) -> Tensor:
    batches = torch.split(torch.as_tensor(images.inputs), BATCH)
    return torch.cat([network((batch.float() / images.value_range - mean) / std) for batch in batches])


def _covered(method: ConformalClassifier, labels: Tensor, logits: Tensor) -> dict[str, float]:
    sets = method.predict_set(logits=logits)
    coverage = sets[torch.arange(len(labels)), labels].double().mean().item()
    return {"coverage": coverage, "off": abs(coverage - (1 - ALPHA)), "size": sets.sum(dim=1).double().mean().item()}


def _errors(logits: Tensor, clean: Tensor, given: Tensor) -> dict[str, dict[str, float]]:
    """Return how labels go wrong: where the network errs or does not, and how likely it finds them."""
    wrong, hit, probs = clean != given, logits.argmax(dim=1) == clean, logits.double().softmax(dim=1)
    own, said = (probs.gather(1, labels[:, None]).squeeze(1) for labels in (clean, given))
    blind = (1 - own) / (probs.shape[1] - 1)
    return {
        "hard images": {"wrong": wrong[~hit].double().mean().item()},
        "easy images": {"wrong": wrong[hit].double().mean().item()},
        "wrong labels": {"likely": said[wrong].mean().item()},
        "blind labels": {"likely": blind[wrong].mean().item()},
    }


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: coverage of clean labels and size of sets, by labels and way.

    Args:
        scores: per variant and metric, one value per seed.
    """
    names = [name for name in scores if "size" in scores[name]]
    charts = [
        dot_panel("coverage of clean labels", {name: scores[name]["coverage"] for name in names}, dashed=(1 - ALPHA,)),
        dot_panel("classes in a set", {name: scores[name]["size"] for name in names}, named=False),
    ]
    words = f"Mean and 95 % interval over {len(scores[AGREED]['coverage'])} networks. Dashed: agreed."
    return side_by_side(charts, words, columns=2)
