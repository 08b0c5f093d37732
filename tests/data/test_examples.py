import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from trueline.data import Examples


class Lazy(Dataset[Tensor]):
    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, position: int) -> Tensor:
        return torch.full((1, 2, 2), position, dtype=torch.uint8)


def build(**changes: object) -> Examples:
    labels = torch.tensor([0, 1, 1])
    arguments: dict[str, object] = {
        "inputs": torch.zeros(3, 2),
        "labels": labels,
        "true_labels": labels,
        "class_names": ("cat", "dog"),
        "source_index": torch.arange(3),
    }
    return Examples(**(arguments | changes))  # type: ignore[arg-type]


def test_facts_follow_from_the_tensors() -> None:
    examples = build(inputs=torch.zeros(3, 1, 4, 5, dtype=torch.uint8))
    assert (len(examples), examples.num_classes, examples.input_shape, examples.in_memory) == (3, 2, (1, 4, 5), True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": torch.zeros(3)}, r"inputs must have shape \(N, ...\) with N = 3 labels, got \(3,\)"),
        ({"inputs": torch.zeros(2, 2)}, r"inputs must have shape .* got \(2, 2\)"),
        ({"inputs": torch.zeros(3, 2).log() * 0}, "inputs must be finite, but sample 0 holds nan"),
        ({"inputs": Lazy(2)}, "got 2 inputs and 3 labels"),
        ({"labels": torch.tensor([0, 1, 2])}, r"labels must lie in \[0, 1\].* got 0 to 2"),
        ({"labels": torch.tensor([1, 2, 1])}, "labels that start at 1 need labels - 1"),
        ({"true_labels": torch.tensor([0, -1, 1])}, r"true_labels must lie in \[0, 1\].* got -1 to 1"),
        ({"true_labels": torch.tensor([0, 1])}, r"true_labels must have shape \(3,\), got \(2,\)"),
        ({"class_names": ("cat",)}, "class_names must be at least two different names"),
        ({"class_names": ("cat", "cat")}, "class_names must be at least two different names"),
        ({"source_index": torch.tensor([4, 7, 4])}, "source_index must name each sample once, but 4 is repeated"),
        ({"source_index": torch.tensor([4, 7])}, r"source_index must have shape \(3,\)"),
        ({"soft_labels": torch.ones(3, 3) / 3}, r"soft_labels must have shape \(3, 2\), got \(3, 3\)"),
        ({"soft_labels": torch.tensor([[0.5, 0.5], [0.5, 0.6], [1, 0]])}, r"row 1 is \[0.5, 0.6\]"),
        ({"soft_labels": torch.tensor([[0.5, 0.5], [1, 0], [float("nan"), 0.5]])}, r"row 2 is \[nan, 0.5\]"),
        ({"soft_labels": torch.tensor([[1.5, -0.5], [1, 0], [1, 0]])}, r"row 0 is \[1.5, -0.5\]"),
        ({"value_range": 0.0}, "value_range must be above 0, got 0.0"),
    ],
)
@pytest.mark.usefixtures("as_users_see_it")
def test_one_clear_error_for_each_fault(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": torch.zeros(3, 2, dtype=torch.float64)}, "inputs must be uint8 or float32, got torch.float64"),
        ({"labels": torch.zeros(3)}, "labels must be int64 class numbers, got torch.float32"),
        ({"source_index": torch.arange(3).int()}, "source_index must be int64, got torch.int32"),
        ({"soft_labels": torch.ones(3, 2, dtype=torch.int64)}, "divide counts by their row sums"),
        ({"inputs": {1, 2, 3}}, r"must be a tensor or a data set with len\(\) and \[i\], got set"),
    ],
)
@pytest.mark.usefixtures("as_users_see_it")
def test_a_wrong_type_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        build(**changes)


def test_an_empty_set_is_allowed() -> None:
    empty = build().select(torch.tensor([], dtype=torch.int64))
    assert len(empty) == 0
    assert empty.input_shape == (2,)


def test_select_takes_everything_along_in_the_given_order() -> None:
    soft = torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.0, 1.0]])
    examples = build(
        inputs=torch.arange(6.0).view(3, 2), true_labels=torch.tensor([1, 0, 1]), source_index=torch.tensor([7, 8, 9]),
        soft_labels=soft,
    )  # fmt: skip
    chosen = examples.select(torch.tensor([2, 0]))
    assert isinstance(chosen.inputs, Tensor)
    assert chosen.inputs.tolist() == [[4, 5], [0, 1]]
    assert chosen.labels.tolist() == [1, 0]
    assert chosen.true_labels.tolist() == [1, 1]
    assert chosen.source_index.tolist() == [9, 7]
    assert chosen.soft_labels is not None
    assert chosen.soft_labels.tolist() == [[0, 1], [1, 0]]


def test_select_refuses_repeated_and_outside_positions() -> None:
    with pytest.raises(ValueError, match="source_index must name each sample once, but 1 is repeated"):
        build().select(torch.tensor([1, 1]))
    for outside in (3, -1):
        with pytest.raises(
            ValueError, match=rf"positions must lie in \[0, 2\], got values from {outside} to {outside}"
        ):
            build().select(torch.tensor([outside]))


def test_a_lazy_set_stays_lazy_and_keeps_its_shape_when_empty() -> None:
    examples = build(inputs=Lazy(3))
    assert not examples.in_memory
    assert examples.input_shape == (1, 2, 2)
    chosen = examples.select(torch.tensor([2, 1]))
    assert not chosen.in_memory
    assert int(chosen.inputs[0].max()) == 2
    assert int(chosen.select(torch.tensor([1])).inputs[0].max()) == 1
    empty = examples.select(torch.tensor([], dtype=torch.int64))
    assert empty.input_shape == (1, 2, 2)
    assert empty.in_memory


def test_new_labels_leave_the_true_ones() -> None:
    examples = build().with_labels(torch.tensor([1, 0, 0]))
    assert examples.labels.tolist() == [1, 0, 0]
    assert examples.true_labels.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="got 0 to 2"):
        build().with_labels(torch.tensor([2, 0, 0]))


def test_pictures_are_scaled_by_their_range_or_stretched_together() -> None:
    pixels = build(
        inputs=torch.tensor([0, 8, 16], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 2, 2), value_range=16.0
    )
    assert pixels.are_pictures
    assert pixels.pictures(torch.tensor([2, 1]))[:, 0, 0, 0].tolist() == [255, 128]
    floats = build(inputs=torch.tensor([-1.0, 0.0, 3.0])[:, None, None, None].expand(3, 3, 2, 2))
    assert floats.pictures(torch.arange(3))[:, 0, 0, 0].tolist() == [0, 64, 255]
    assert floats.pictures(torch.arange(0)).shape == (0, 1, 1, 1)
    assert not build().are_pictures
