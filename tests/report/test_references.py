"""A run cites what it used: objective, network, data, noise and measures, each once."""

from collections.abc import Mapping

import pytest

from trueline.contracts import facts_of
from trueline.data import SOURCES, Transform, symmetric_noise
from trueline.measure import calibration_error
from trueline.models import MODELS
from trueline.report import references_of
from trueline.supervise import OBJECTIVES, Contrastive


def test_the_objective_comes_first() -> None:
    config = {"objective": {"name": "dps"}, "model": {"name": "mlp"}, "data": {"name": "digits"}}
    references = references_of(config)
    assert references[0] == facts_of(OBJECTIVES["dps"]).references[0]
    for item in (MODELS["mlp"], SOURCES["digits"], calibration_error):
        assert facts_of(item).references[0] in references


def test_noise_augmentation_and_contrastive_term_are_cited_where_used() -> None:
    optional = {facts_of(item).references[0] for item in (symmetric_noise, Contrastive, Transform)}
    plain = references_of({"objective": {"name": "dps"}, "data": {"noise": None, "augment": {"cutout": 0}}})
    assert not optional & set(plain)
    full = {"data": {"noise": {"kind": "symmetric"}, "augment": {"cutout": 8}}, "contrastive": {"weight": 1.0}}
    assert optional <= set(references_of(full))


@pytest.mark.parametrize(("table", "catalogue"), [("objective", OBJECTIVES), ("model", MODELS), ("data", SOURCES)])
def test_every_known_name_is_accepted_and_nothing_is_cited_twice(table: str, catalogue: Mapping[str, object]) -> None:
    for name in catalogue:
        references = references_of({table: {"name": name}, "contrastive": {"weight": 1.0}})
        assert len(references) == len(set(references))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'dps'"):
        references_of({"objective": {"name": "dsp"}})
