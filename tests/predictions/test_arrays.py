"""Arrays as predictions: every way of saying the same gives the same, and what is unclear is explained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from jaxtyping import config

from trueline.predictions import from_arrays

LABELS = [0, 2, 1, 2]
LOGITS = [[3.0, 0.0, -1.0], [0.0, 1.0, 2.0], [0.5, 4.0, 1.0], [1.0, 0.0, 0.25]]
PIXELS = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)


def _values(predictions) -> torch.Tensor:
    return torch.cat(list(predictions.blocks()))


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        tuple(LABELS),
        [torch.tensor(label) for label in LABELS],
        torch.tensor(LABELS),
        torch.tensor(LABELS, dtype=torch.int8),
        torch.tensor(LABELS, dtype=torch.float16),
        torch.tensor(LABELS, dtype=torch.bfloat16),
        np.array(LABELS, dtype=np.uint8),
        np.array(LABELS, dtype=np.uint64),
        np.array(LABELS, dtype=">i4"),
        np.array(LABELS, dtype=object),
        np.array(LABELS)[:, None],
        np.array(LABELS * 2)[::-1][::-1][:4],
        pd.Series(LABELS, index=[9, 8, 7, 6]),
        pd.Series(LABELS, dtype="Int64"),
        pd.DataFrame({"label": LABELS}),
        ["cat", "fox", "dog", "fox"],
        pd.Series(["cat", "fox", "dog", "fox"], dtype="category"),
        np.array([b"cat", b"fox", b"dog", b"fox"]),
    ],
    ids=repr,
)
def test_labels_in_any_form_are_the_same_labels(labels: Any) -> None:
    predictions = from_arrays(labels, logits=LOGITS, class_names=["cat", "dog", "fox"])
    assert predictions.labels.tolist() == LABELS
    assert predictions.labels.dtype == torch.int64


@pytest.mark.parametrize(
    "logits",
    [
        LOGITS,
        [torch.tensor(row) for row in LOGITS],
        torch.tensor(LOGITS),
        torch.tensor(LOGITS, requires_grad=True),
        torch.tensor(LOGITS).T.contiguous().T,
        torch.tensor(LOGITS, dtype=torch.float16),
        np.array(LOGITS),
        np.asfortranarray(LOGITS),
        np.array(LOGITS, dtype=">f4"),
        np.array(LOGITS)[::-1].copy()[::-1],
        pd.DataFrame(LOGITS, columns=["cat", "dog", "fox"]),
    ],
)
def test_predictions_in_any_form_are_the_same_predictions(logits: Any) -> None:
    assert _values(from_arrays(LABELS, logits=logits)).tolist() == LOGITS


def test_arrays_mapped_from_a_file_are_read_and_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "logits.npy", np.array(LOGITS))
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    assert _values(from_arrays(LABELS, logits=mapped)).tolist() == LOGITS


@pytest.mark.parametrize(
    ("labels", "notes"),
    [
        (LABELS, ()),
        (np.array(LABELS, dtype=np.float64), ("Labels were given as float64 and are whole numbers.",)),
        (np.array(LABELS)[:, None], ("Labels of shape (4, 1) were read as (4,).",)),
        (list("acbc"), ("Labels were given as text and matched with the class names.",)),
    ],
)
def test_conversions_of_labels_are_noted(labels: Any, notes: tuple[str, ...]) -> None:
    assert from_arrays(labels, logits=LOGITS, class_names=list("abc")).notes == notes


def test_booleans_are_the_labels_of_two_classes() -> None:
    predictions = from_arrays(np.array([True, False]), probs=[0.9, 0.2])
    assert predictions.labels.tolist() == [1, 0]
    assert predictions.notes == ("Labels were given as bool: False is class 0 and True is class 1.",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 3, 2, 3], r"labels must lie in \[0, 2\], but row 1 holds 3; labels that start at 1 need labels - 1"),
        ([0, 4, 1, 2], "labels up to 4 are of at least 5 classes, the predictions of 3"),
        ([0, -1, 1, 2], "row 1 holds -1; drop the samples that have no label"),
        (np.array([2**64 - 1, 0, 0, 0], dtype=np.uint64), r"labels must lie in \[0, 2\], got 18446744073709551615"),
        ([0, np.nan, 1, 2], "labels must be whole numbers, but row 1 holds nan"),
        ([0, np.inf, 1, 2], "labels must be whole numbers, but row 1 holds inf"),
        ([0, 0.5, 1, 2], "labels must be whole numbers, but row 1 holds 0.5"),
        (pd.Series([0, None, 1, 2], dtype="Int64"), "labels must be whole numbers, but row 1 holds nan"),
        ([True, False, True, True], "bool can tell two classes apart, the predictions have 3"),
        (list("acbc"), "labels are text, such as 'a'; give class_names"),
        (np.eye(3)[LABELS], r"take labels.argmax\(1\) of one-hot rows"),
        (np.zeros((4, 2)), r"labels must have shape \(N,\), one class number per sample, got shape \(4, 2\)"),
        (LABELS[:2], r"labels of shape \(2,\) do not fit logits of shape \(4, 3\); give one label per row"),
        ([LABELS], r"labels of shape \(1, 4\) do not fit logits of shape \(4, 3\)"),
        ([], "there are no samples"),
        (torch.tensor(0), "labels must hold one entry per sample, got the single value 0"),
        ([2**70, 0, 0, 0], "labels hold a number beyond 64 bits"),
    ],
)
def test_labels_that_are_none_are_explained(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_arrays(labels, logits=LOGITS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, "cat", 1, 2], "all numbers or all text, got objects of type int, str"),
        ([0, None, 1, 2], "all numbers or all text, got objects of type NoneType, int"),
        ("0212", "labels must be a tensor, a NumPy array, a list or a data frame, got str"),
        ({0: 1}, "got dict"),
        (np.ma.masked_array(LABELS, mask=[0, 1, 0, 0]), "labels must not be a masked array"),
        (np.array(LABELS) * 1j, "labels must be whole numbers or text, got complex128"),
        (pd.Series(["a", None, "b", "c"], dtype=object), "got objects of type NoneType, str"),
    ],
)
def test_labels_of_no_one_type_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        from_arrays(labels, logits=LOGITS)


def test_text_must_be_the_name_of_one_class() -> None:
    with pytest.raises(ValueError, match="row 2 holds 'cow'; known: 'a', 'b', 'c'"):
        from_arrays(["a", "c", "cow", "c"], logits=LOGITS, class_names=list("abc"))
    with pytest.raises(ValueError, match="two classes are named 'a', so labels cannot be given as text"):
        from_arrays(["a", "c", "a", "c"], logits=LOGITS, class_names=list("aac"))
    assert from_arrays(LABELS, logits=LOGITS, class_names=list("aac")).class_names == ("a", "a", "c")


def test_labels_of_minus_one_and_one_are_recognised() -> None:
    with pytest.raises(ValueError, match=r"need \(labels \+ 1\) // 2"):
        from_arrays([1, -1], logits=[3.0, -2.0])


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        (
            np.array(LOGITS).T,
            ValueError,
            r"of shape \(4,\) do not fit logits of shape \(3, 4\); transpose the logits if",
        ),
        (
            np.ones((4, 3, 2)),
            ValueError,
            r"logits must have shape \(N, C\), or \(N,\) for two classes, got \(4, 3, 2\)",
        ),
        (np.ones((4, 0)), ValueError, r"got \(4, 0\)"),
        (np.ones((4, 3), dtype=np.int8), TypeError, "got int8; convert them, and undo the scale if they are quantised"),
        (np.ones((4, 3), dtype=np.complex64), TypeError, "got complex64"),
        (torch.ones(4, 3).to(torch.float8_e4m3fn), TypeError, "got float8_e4m3fn"),
        ([[1.0, 2.0], [1.0]], ValueError, "the rows of logits differ in length"),
        ([torch.ones(3, 3), torch.ones(1, 3)], ValueError, "join batches with torch.cat"),
        ([["a", "b"]] * 4, TypeError, "got str"),
    ],
)
def test_predictions_of_the_wrong_shape_or_type_are_explained(
    logits: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        from_arrays(LABELS, logits=logits)


def test_a_square_of_predictions_is_taken_as_it_comes() -> None:
    assert len(from_arrays([0, 1, 2], logits=LOGITS[:3])) == 3
    assert len(from_arrays([1], logits=LOGITS[:1])) == 1


@pytest.mark.parametrize("given", [{}, {"logits": LOGITS, "probs": LOGITS}])
def test_exactly_one_kind_of_predictions_is_wanted(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected exactly one of logits= and probs="):
        from_arrays(LABELS, **given)


@pytest.mark.parametrize(
    ("groups", "names", "index"),
    [
        ([10, 9, 9, 2], ("2", "9", "10"), [2, 1, 1, 0]),
        (["b", "a", "10", "9"], ("10", "9", "a", "b"), [3, 2, 0, 1]),
        ([True, False, True, True], ("False", "True"), [1, 0, 1, 1]),
        (torch.tensor([1.0, 0.5, 1.0, 1.0]), ("0.5", "1"), [1, 0, 1, 1]),
        (pd.Series(list("baab"), dtype="category"), ("a", "b"), [1, 0, 0, 1]),
        (np.array([[7]] * 4), ("7",), [0, 0, 0, 0]),
    ],
)
def test_groups_are_numbered_in_natural_order(groups: Any, names: tuple[str, ...], index: list[int]) -> None:
    predictions = from_arrays(LABELS, logits=LOGITS, groups=groups)
    assert predictions.group_names == names
    assert predictions.groups.tolist() == index


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"groups": [1, 2]}, ValueError, r"groups must have shape \(4,\) to match the labels, got \(2,\)"),
        ({"groups": [1, 2, np.nan, 3]}, ValueError, "groups must be finite, but row 2 holds nan"),
        ({"groups": [1, "a", 2, 3]}, TypeError, "groups must be all numbers or all text"),
        ({"weight": [1, 2]}, ValueError, r"weight must have shape \(4,\)"),
        ({"weight": [1, -2, 1, 1]}, ValueError, "weight must be finite, at least zero"),
        ({"weight": [0] * 4}, ValueError, "positive somewhere"),
        ({"weight": list("abcd")}, TypeError, "weight must be numbers"),
        ({"class_names": ["a", "b"]}, ValueError, "got 2 class names and predictions of 3 classes"),
        ({"class_names": "abc"}, TypeError, "class_names must be a list of names, got the text 'abc'"),
        ({"held_out": ([1, 2, 3], LOGITS[:3])}, ValueError, r"in held_out, labels must lie in \[0, 2\]"),
        ({"held_out": ([0, 1], [3.0, 2.0])}, ValueError, "must have the same 3 classes, got 2"),
        ({"held_out": ([0, None], LOGITS[:2])}, TypeError, "in held_out, labels must be all numbers"),
    ],
)
def test_options_that_do_not_fit_are_explained(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_arrays(LABELS, logits=LOGITS, **options)


def test_held_out_samples_are_a_pair() -> None:
    config.update("jaxtyping_disable", True)  # so that the library's own message is met
    try:
        for wrong in (LABELS, (LABELS,), 5):
            with pytest.raises(TypeError, match="held_out must be a pair of labels and logits, got"):
                from_arrays(LABELS, logits=LOGITS, held_out=wrong)
    finally:
        config.update("jaxtyping_disable", False)


def test_weights_become_double_and_held_out_samples_a_set_of_their_own() -> None:
    names = ["cat", "dog", "fox"]
    held_out = (["dog", "cat"], LOGITS[:2])
    predictions = from_arrays(LABELS, logits=LOGITS, weight=[1, 0, 2, 1], held_out=held_out, class_names=names)
    assert predictions.weight.dtype == torch.float64
    assert predictions.weight.tolist() == [1, 0, 2, 1]
    assert predictions.held_out.labels.tolist() == [1, 0]
    assert predictions.held_out.class_names == tuple(names)
    assert _values(predictions.held_out).tolist() == LOGITS[:2]


@pytest.mark.parametrize(
    "layout",
    [
        lambda grey: grey,
        lambda grey: torch.tensor(grey),
        lambda grey: grey[..., None],
        lambda grey: grey[:, None],
        lambda grey: grey / 255,
        lambda grey: (grey / 255).astype(np.float16)[..., None],
    ],
)
def test_grey_pictures_in_any_layout_are_the_same(layout: Callable[[Any], Any]) -> None:
    predictions = from_arrays(LABELS, logits=LOGITS, images=layout(PIXELS))
    assert predictions.notes == ()
    assert torch.equal(predictions.images(torch.tensor([3, 0])), torch.tensor(PIXELS)[[3, 0], None])


@pytest.mark.parametrize("channels", ["first", "last", "four"])
def test_coloured_pictures_in_any_layout_are_the_same(channels: str) -> None:
    colours = np.stack([PIXELS, PIXELS[::-1], PIXELS[:, ::-1]], axis=1)
    given = colours if channels == "first" else np.moveaxis(colours, 1, 3)
    if channels == "four":
        given = np.concatenate([given, np.full((4, 5, 6, 1), 255, dtype=np.uint8)], axis=3)
    predictions = from_arrays(LABELS, logits=LOGITS, images=given)
    assert torch.equal(predictions.images(torch.tensor([2, 2, 1])), torch.tensor(colours)[[2, 2, 1]])
    assert predictions.images(torch.tensor([], dtype=torch.int64)).shape == (0, 3, 5, 6)
    assert [note for note in predictions.notes if "transparency" in note] == list(predictions.notes)
    assert bool(predictions.notes) == (channels == "four")


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (
            np.zeros((3, 5, 6), np.uint8),
            ValueError,
            r"images must hold 4 pictures to match the labels, got shape \(3, 5, 6\)",
        ),
        (np.zeros((4, 3, 6, 3), np.uint8), ValueError, "could have their channels first or last"),
        (np.zeros((4, 5, 6, 2), np.uint8), ValueError, r"with 1 or 3 channels, got \(4, 5, 6, 2\)"),
        (np.zeros((4, 30), np.uint8), ValueError, r"images must have shape \(N, H, W\)"),
        (np.zeros((4, 0, 6), np.uint8), ValueError, r"got \(4, 0, 6\)"),
        (np.zeros((4, 5, 6), np.int64), TypeError, "images must be uint8, or floating point"),
    ],
)
def test_pictures_in_an_unclear_layout_are_refused(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        from_arrays(LABELS, logits=LOGITS, images=images)


@pytest.mark.parametrize("culprit", [-0.5, 2.0, np.nan])
def test_pixels_out_of_range_are_refused_when_they_are_asked_for(culprit: float) -> None:
    pixels = PIXELS / 255
    pixels[2, 0, 0] = culprit
    images = from_arrays(LABELS, logits=LOGITS, images=pixels).images
    assert images(torch.tensor([0, 1, 3])).shape == (3, 1, 5, 6)
    with pytest.raises(ValueError, match=r"images in floating point must lie in \[0, 1\]"):
        images(torch.tensor([2]))
