"""The store: a running mean by index, with memory, device and processes in view."""

import pytest
import torch
from torch import nn

from trueline.supervise import TargetStore

LABELS = torch.tensor([0, 1, 2, 0])


def test_rows_begin_with_the_given_masses() -> None:
    store = TargetStore(LABELS, 3, label_mass=0.8, other_mass=0.1)
    assert torch.equal(store.read(torch.tensor([1])), torch.tensor([[0.1, 0.8, 0.1]]))


def test_observing_moves_rows_by_the_weight_and_counts_the_visit() -> None:
    store = TargetStore(LABELS, 3)
    store.observe(torch.tensor([2, 0]), torch.full((2, 3), 1 / 3), weight=0.25)
    expected = torch.tensor([[0.75 + 0.25 / 3, 0.25 / 3, 0.25 / 3], [0.25 / 3, 0.25 / 3, 0.75 + 0.25 / 3]])
    assert torch.allclose(store.read(torch.tensor([0, 2])), expected)
    assert store.count(torch.arange(4)).tolist() == [1, 0, 1, 0]


def test_the_weight_may_depend_on_the_visits_so_far() -> None:
    store = TargetStore(LABELS, 3, label_mass=0.0)
    observations = torch.rand(10, 4, 3, generator=torch.Generator().manual_seed(0))
    for rows in observations:
        store.observe(torch.arange(4), rows, weight=lambda visits: 1 / (visits + 1))
    assert torch.allclose(store.rows, observations.mean(dim=0), atol=1e-6)


def test_repeats_in_one_batch_are_one_observation_of_their_mean() -> None:
    store = TargetStore(LABELS, 3)
    rows = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    store.observe(torch.tensor([3, 1, 3]), rows, weight=1.0)
    assert torch.equal(store.read(torch.tensor([3, 1])), torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]))
    assert store.count(torch.tensor([3])).item() == 1


def test_without_repeats_an_observation_is_stored_to_the_bit(generator: torch.Generator) -> None:
    store = TargetStore(LABELS, 3)
    rows = torch.rand(4, 3, generator=generator)
    store.observe(torch.tensor([3, 1, 0, 2]), rows, weight=1.0)
    assert torch.allclose(store.rows[torch.tensor([3, 1, 0, 2])], rows, atol=1e-7)


def test_half_precision_stores_two_bytes_an_element_and_reads_float32() -> None:
    store = TargetStore(LABELS, 3, dtype="float16")
    assert store.rows.element_size() == 2
    assert store.read(torch.tensor([0])).dtype == torch.float32


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2)])
def test_memory_is_what_the_documentation_says(dtype, size: int) -> None:
    num_samples, num_classes = 1000, 50
    store = TargetStore(torch.zeros(num_samples, dtype=torch.int64), num_classes, dtype=dtype)
    used = sum(buffer.nbytes for buffer in store.state_dict().values())
    assert used == num_samples * num_classes * size + 12 * num_samples


def test_only_moves_reach_the_table() -> None:
    parent = nn.Module()
    parent.store = TargetStore(LABELS, 3, label_mass=1 / 3, other_mass=1 / 3)
    parent.half()
    parent.to(torch.bfloat16)
    assert parent.store.rows.dtype == torch.float32
    assert parent.store.visits.dtype == torch.int32


def test_a_table_kept_on_the_cpu_stays_there() -> None:
    kept, moved = TargetStore(LABELS, 3, keep_on_cpu=True), TargetStore(LABELS, 3)
    assert kept.to("meta").rows.device.type == "cpu"
    assert moved.to("meta").rows.device.type == "meta"


def test_the_labels_given_are_copied() -> None:
    labels = LABELS.clone()
    store = TargetStore(labels, 3)
    labels.zero_()
    assert torch.equal(store.labels, LABELS)


def test_an_index_outside_the_training_set_is_refused() -> None:
    store = TargetStore(LABELS, 3)
    for index in (-1, 4):
        with pytest.raises(ValueError, match="positions in the training set, 0 to 3"):
            store.read(torch.tensor([index]))


def test_labels_out_of_step_with_the_index_are_refused() -> None:
    store = TargetStore(LABELS, 3)
    store.check_labels(torch.tensor([1, 3]), torch.tensor([1, 0]))
    with pytest.raises(ValueError, match="not those given for these indices"):
        store.check_labels(torch.tensor([0, 1]), torch.tensor([1, 0]))


def test_a_prediction_that_is_not_finite_is_refused_and_leaves_no_trace() -> None:
    store = TargetStore(LABELS, 3)
    before = store.rows.clone()
    with pytest.raises(ValueError, match="not finite"):
        store.observe(torch.tensor([0]), torch.tensor([[float("nan"), 0.0, 1.0]]), weight=0.5)
    assert torch.equal(store.rows, before)
    assert store.visits.sum() == 0


def test_a_fault_noted_on_a_device_is_raised_once() -> None:
    store = TargetStore(LABELS, 3)
    store.raise_fault()
    store._fault.fill_(True)  # what a check on an accelerator leaves behind
    with pytest.raises(ValueError, match=r"since the last end_epoch\(\)"):
        store.raise_fault()
    store.raise_fault()


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        (torch.tensor([], dtype=torch.int64), 3, "at least one sample"),
        (torch.tensor([0, 3]), 3, r"\[0, 2\], got values from 0 to 3"),
        (torch.tensor([-1, 0]), 3, "from -1 to 0"),
        (torch.tensor([0]), 1, "num_classes must be at least 2"),
    ],
)
def test_bad_labels_are_named(labels: torch.Tensor, num_classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TargetStore(labels, num_classes)


def test_the_share_that_left_counts_only_visited_samples() -> None:
    store = TargetStore(LABELS, 3, label_mass=0.0)
    store.observe(torch.tensor([0, 1]), torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), weight=0.5)
    assert store.left_label_share() == 0.25


def test_copied_rows_are_normalised_and_fall_back_to_the_label() -> None:
    store = TargetStore(LABELS, 3, label_mass=0.0)
    store.observe(torch.tensor([0]), torch.tensor([[0.0, 1.0, 0.0]]), weight=0.5)
    copied = store.copy_rows()
    assert torch.equal(copied, torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    copied.zero_()
    assert store.rows.sum() == 0.5
