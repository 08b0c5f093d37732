import os

import pytest
import torch

from trueline.train import RunConfig
from trueline.train._config import TrainingConfig
from trueline.train._device import run_device


def _training(**options: object) -> TrainingConfig:
    return TrainingConfig.model_validate({"epochs": 1, "batch_size": 1, "device": "cpu", **options})


def _flags() -> tuple[object, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("deterministic", [True, False])
def test_everything_is_put_back_even_after_an_error(deterministic: bool) -> None:
    before = _flags()

    def fail() -> None:
        with run_device(_training(deterministic=deterministic)):
            assert torch.are_deterministic_algorithms_enabled() == deterministic
            torch.manual_seed(3)
            torch.rand(3)
            torch.set_num_threads(2)
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    assert _flags() == before


def test_a_workspace_that_was_set_stays_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with run_device(_training()):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_each_run_has_its_own_precision() -> None:
    for precision, expected in (("bf16", "bf16"), ("fp32", "no"), ("bf16", "bf16")):
        with run_device(_training(precision=precision)) as accelerator:
            assert accelerator.mixed_precision == expected
            assert accelerator.device.type == "cpu"


def test_an_accelerator_of_the_user_is_left_as_it_was() -> None:
    with run_device(_training(precision="bf16")) as users:
        with run_device(_training()) as ours:
            assert ours.mixed_precision == "no"
        assert users.mixed_precision == "bf16"
        assert users.num_processes == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_a_device_that_is_not_there_is_named(config: RunConfig) -> None:
    for options, message in (({"device": "cuda"}, "sees no GPU"), ({"precision": "fp16"}, "'fp16' needs a GPU")):
        training = TrainingConfig.model_validate(config.training.model_dump() | options)
        context = run_device(training)
        with pytest.raises(ValueError, match=message):
            context.__enter__()
