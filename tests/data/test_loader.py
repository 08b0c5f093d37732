from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import Dataset

from trueline.data import DatasetLoader, Loader, TensorLoader, Transform, make_loader

AUGMENT = Transform((0.3, 0.4), (0.2, 0.1), pad=2, flip=True, cutout=2, noise=0.1)
PLAIN = Transform((0.0, 0.0), (1.0, 1.0))


class Lazy(Dataset[Tensor]):
    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, position: int) -> Tensor:
        return self.inputs[position]


def lazily(examples):
    return replace(examples, inputs=Lazy(examples.inputs))


def loader(examples, **options) -> Loader:
    return make_loader(examples, **({"batch_size": 5, "transform": AUGMENT, "device": "cpu", "seed": 3} | options))


def equal(first, second) -> bool:
    return all(
        a == b if isinstance(a, int) else torch.equal(a, b)
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@pytest.fixture(params=["in memory", "lazy"])
def examples(request, make_examples):
    return make_examples() if request.param == "in memory" else lazily(make_examples())


def test_the_kind_follows_from_where_the_inputs_are(make_examples) -> None:
    assert isinstance(loader(make_examples()), TensorLoader)
    assert isinstance(loader(lazily(make_examples())), DatasetLoader)
    assert isinstance(loader(make_examples()), Loader)


def test_the_same_epoch_and_step_give_the_same_bits(examples) -> None:
    state = torch.random.get_rng_state()
    first = list(loader(examples).epoch(4))
    assert equal(first, loader(examples).epoch(4))
    again = loader(examples)
    list(again.epoch(0))
    assert equal(first, again.epoch(4))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_lazy_set_gives_the_batches_of_the_set_in_memory(make_examples) -> None:
    data = make_examples()
    for options in ({}, {"views": 2}, {"rank": 1, "world_size": 2}, {"shuffle": False}):
        assert equal(loader(data, **options).epoch(1), loader(lazily(data), **options).epoch(1))


def test_start_skips_steps(examples) -> None:
    full = list(loader(examples, views=2).epoch(2))
    for start in range(len(full) + 1):
        assert equal(full[start:], loader(examples, views=2).epoch(2, start=start))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 60), batch_size=st.integers(1, 70), world_size=st.integers(1, 4), epoch=st.integers(0, 5))
def test_every_sample_comes_once_in_batches_of_nearly_one_size(size, batch_size, world_size, epoch) -> None:
    from trueline.data import Examples

    labels = torch.arange(size) % 2
    data = Examples(torch.arange(float(size))[:, None], labels, labels, ("a", "b"), torch.arange(size))
    steps = -(-size // batch_size)
    if size // steps < world_size:
        with pytest.raises(ValueError, match="raise it or use fewer processes"):
            make_loader(
                data, batch_size=batch_size, transform=Transform((0.0,), (1.0,)), device="cpu", world_size=world_size
            )
        return
    ranks = [
        make_loader(
            data, batch_size=batch_size, transform=Transform((0.0,), (1.0,)), device="cpu", rank=rank,
            world_size=world_size,
        )
        for rank in range(world_size)
    ]  # fmt: skip
    shares = [list(ranked.epoch(epoch)) for ranked in ranks]
    assert {len(ranked) for ranked in ranks} == {steps} == {len(share) for share in shares}
    sizes = [sum(len(share[step].index) for share in shares) for step in range(steps)]
    assert max(sizes) - min(sizes) <= 1
    assert all(share[step].global_size == sizes[step] for share in shares for step in range(steps))
    assert sorted(i for share in shares for batch in share for i in batch.index.tolist()) == list(range(size))
    for share in shares:
        for batch in share:
            assert torch.equal(batch.inputs[:, 0].long(), batch.index)
            assert torch.equal(batch.labels, labels[batch.index])


def test_the_number_of_processes_never_changes_what_a_sample_sees(examples) -> None:
    for views in (1, 2):
        whole = list(loader(examples, views=views).epoch(1))
        for world_size in (2, 3):
            ranks = [
                list(loader(examples, views=views, rank=r, world_size=world_size).epoch(1)) for r in range(world_size)
            ]
            for step, batch in enumerate(whole):
                for rank in range(world_size):
                    mine = ranks[rank][step]
                    assert torch.equal(mine.index, batch.index[rank::world_size])
                    assert torch.equal(mine.labels, batch.labels[rank::world_size])
                    expected = [view[rank::world_size] for view in batch.inputs.chunk(views)]
                    assert torch.equal(mine.inputs, torch.cat(expected))


def test_batches_hold_the_samples_that_the_index_names(examples, make_examples) -> None:
    data = make_examples()
    for batch in loader(examples, transform=PLAIN, views=2).epoch(0):
        expected = data.inputs[batch.index].float() / 255
        torch.testing.assert_close(batch.inputs, torch.cat([expected, expected]))
        assert torch.equal(batch.labels, data.labels[batch.index])
        assert batch.inputs.dtype == torch.float32


def test_given_labels_are_served_not_the_true_ones(make_examples) -> None:
    data = make_examples()
    wrong = data.with_labels((data.labels + 1) % 3)
    for batch in loader(wrong).epoch(0):
        assert torch.equal(batch.labels, (data.true_labels[batch.index] + 1) % 3)


def test_two_views_differ_and_the_first_is_the_only_one_of_a_single_view(make_examples) -> None:
    one, two = (next(loader(make_examples(), views=views).epoch(0)) for views in (1, 2))
    first, second = two.inputs.chunk(2)
    assert torch.equal(first, one.inputs)
    assert not torch.equal(first, second)


def test_order_and_choices_change_with_epoch_and_seed_only(make_examples) -> None:
    data = make_examples()

    def order(seed: int, epoch: int) -> list[int]:
        return [i for batch in loader(data, seed=seed).epoch(epoch) for i in batch.index.tolist()]

    assert len({tuple(order(seed, epoch)) for seed in (0, 1, 2) for epoch in (0, 1, 2)}) == 9
    pairs = (loader(data, shuffle=False).epoch(epoch) for epoch in (0, 1))
    first, second = (next(batches) for batches in pairs)
    assert first.index.tolist() == second.index.tolist() == [0, 1, 2, 3, 4]
    assert not torch.equal(first.inputs, second.inputs)


def test_every_step_makes_its_own_choices(make_examples) -> None:
    data = make_examples(20)
    alike = replace(data, inputs=data.inputs[:1].expand(20, -1, -1, -1))
    batches = [batch.inputs for batch in loader(alike).epoch(0)]
    assert all(not torch.equal(batches[0], other) for other in batches[1:])


def test_the_order_does_not_depend_on_the_batch_size(make_examples) -> None:
    orders = [
        [i for batch in loader(make_examples(), batch_size=size).epoch(0) for i in batch.index.tolist()]
        for size in (2, 7, 23)
    ]
    assert orders[0] == orders[1] == orders[2]


def test_workers_change_nothing(make_examples) -> None:
    data = lazily(make_examples())
    assert equal(loader(data).epoch(1, start=2), loader(data, workers=1).epoch(1, start=2))


def test_a_set_in_memory_is_not_changed(make_examples) -> None:
    data = make_examples(shape=(2, 4, 4))
    floats = replace(data, inputs=data.inputs.float())
    before = floats.inputs.clone()
    list(loader(floats).epoch(0))
    assert torch.equal(floats.inputs, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"views": 0}, "views must be at least 1, got 0"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"world_size": 0}, "world_size must be at least 1, got 0"),
        ({"rank": 2, "world_size": 2}, r"rank must lie in \[0, 1\] for 2 processes, got 2"),
        ({"batch_size": 2, "world_size": 3}, "batch_size 2 leaves a step with 1 samples for 3 processes"),
    ],
)
def test_bad_options_are_named(options, message, make_examples) -> None:
    with pytest.raises(ValueError, match=message):
        loader(make_examples(), **options)


def test_an_empty_set_and_steps_outside_the_epoch_are_refused(examples) -> None:
    with pytest.raises(ValueError, match="a loader needs at least one sample, got none"):
        loader(examples.select(torch.tensor([], dtype=torch.int64)))
    for epoch, start in ((-1, 0), (0, -1), (0, 6)):
        with pytest.raises(ValueError, match=rf"start in \[0, 5\], got {epoch} and {start}"):
            next(loader(examples).epoch(epoch, start=start))


def test_items_that_cannot_be_stacked_are_named(make_examples) -> None:
    data = make_examples(4)
    uneven = [torch.zeros(2, 5, 6), torch.zeros(2, 5, 6), torch.zeros(2, 5, 7), torch.zeros(2, 5, 6)]
    double = [torch.zeros(2, 5, 6, dtype=torch.float64)] * 4
    for items, error, message in (
        (uneven, ValueError, r"inputs\[0\] is \(2, 5, 6\) torch.float32 and inputs\[2\] is \(2, 5, 7\) torch.float32"),
        (double, TypeError, r"inputs\[0\] must be a uint8 or float32 tensor, got torch.float64"),
    ):
        lazy = replace(data, inputs=Lazy(items))  # type: ignore[arg-type]
        with pytest.raises(error, match=message):
            next(loader(lazy, shuffle=False).epoch(0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_the_device_sees_what_the_cpu_sees(examples) -> None:
    for ours, theirs in zip(loader(examples).epoch(0), loader(examples, device="cuda").epoch(0), strict=True):
        assert theirs.inputs.device.type == theirs.index.device.type == theirs.labels.device.type == "cuda"
        torch.testing.assert_close(ours.inputs, theirs.inputs.cpu())
        assert torch.equal(ours.index, theirs.index.cpu())
