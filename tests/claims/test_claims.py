"""The published claims, at the scale their recipes state. Slow: `make claims`.

A claim that fails is reported as failing in the printed table and in benchmarks/results/claims; what is asserted here
is only what holds on every machine: the digits result that the demonstration shows, and coverage that has a proof.
"""

import json
from pathlib import Path

import pytest

from trueline.recipes import RECIPES, Reproduction, reproduce

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "claims"


def _reproduce(name: str, tmp_path: Path, *overrides: str) -> Reproduction:
    result = reproduce(RECIPES[name](), tmp_path, overrides=overrides, progress=print)
    for judgement in result.judgements:
        span = f"{judgement.difference:+.4f} [{judgement.low:+.4f}, {judgement.high:+.4f}]"
        print(f"{judgement.verdict:12s} {span}  {judgement.claim.statement}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = result.to_dict()
    record["overrides"] = [each for each in record["overrides"] if not each.startswith("data.folder=")]
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    return result


@pytest.mark.claim
def test_dps_forgets_wrong_labels_on_digits(tmp_path: Path) -> None:
    result = _reproduce("dps-noise-digits", tmp_path)
    verdicts = {judgement.claim.statement: judgement.verdict for judgement in result.judgements}
    assert verdicts["DPS is more accurate than cross-entropy"] == "holds"


@pytest.mark.claim
def test_warm_up_on_digits(tmp_path: Path) -> None:
    _reproduce("dps-warmup", tmp_path)


@pytest.mark.claim
@pytest.mark.parametrize("name", ["dps-calibration-cifar10", "human-noise-cifar10"])
def test_cifar10(name: str, tmp_path: Path, shared_data: Path) -> None:
    _reproduce(name, tmp_path, f"data.folder={shared_data / 'cifar10'}")


@pytest.mark.claim
def test_steering_mends_a_net_that_has_learned_a_noisy_spiral(tmp_path: Path) -> None:
    _reproduce("steer-spiral", tmp_path)


@pytest.mark.claim
def test_trained_curvature_on_circles(tmp_path: Path) -> None:
    _reproduce("steer-circles", tmp_path)


@pytest.mark.claim
def test_smoother_networks_have_firmer_attributions(tmp_path: Path) -> None:
    _reproduce("steer-attributions", tmp_path)


@pytest.mark.claim
@pytest.mark.parametrize(
    "name",
    [
        "double-descent-interpolation",
        "double-descent-lipschitz",
        "double-descent-regions",
        "double-descent-epochs",
        "hyperplane-arrangements",
        "gradient-regularisation-digits",
        "attribution-attention-digits",
        "attribution-curvature-digits",
        "counterfactual-digits",
        "edge-of-stability",
        "explanation-spectra-digits",
    ],
)
def test_geometry_on_digits(name: str, tmp_path: Path) -> None:
    _reproduce(name, tmp_path)


@pytest.mark.claim
def test_conformal_methods_cover_at_every_number_of_samples(tmp_path: Path) -> None:
    judgements = _reproduce("conformal-coverage", tmp_path).judgements
    assert not [judgement.claim.statement for judgement in judgements if judgement.verdict == "fails"]


@pytest.mark.claim
def test_one_hold_out_set_for_early_stopping_and_calibration(tmp_path: Path) -> None:
    _reproduce("conformal-early-stopping", tmp_path)


@pytest.mark.claim
@pytest.mark.parametrize(
    "name",
    [
        "steer-transfer-digits",
        "steer-cifar10-resnets",
        "steer-attributions-cifar10",
        "counterfactual-cifar10-resnet56",
        "double-descent-cifar10",
        "explanation-spectra-cifar10",
        "geometry-cifar10-resnets",
        "recalibration-densenet",
        "h-calibration-files",
        "noise-aware-coverage-cifar10n",
    ],
)
def test_studies_of_shared_data(name: str, tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUELINE_DATA", str(shared_data))
    _reproduce(name, tmp_path)
