"""Which samples go where."""

from itertools import chain

import pytest

from istvt.training.batches import BatchPlan


@pytest.mark.parametrize(("accumulate", "world"), [(1, 1), (3, 1), (1, 2), (2, 2)])
def test_a_step_is_the_same_samples_however_it_is_shared_out(accumulate, world):
    whole = BatchPlan(50, 4 * accumulate * world)
    parts = [BatchPlan(50, 4, accumulate, rank, world) for rank in range(world)]
    shares = [list(plan.batches()) for plan in parts]
    assert {plan.steps for plan in parts} == {whole.steps}
    for step, batch in enumerate(whole.batches()):
        of_step = [share[step * accumulate : (step + 1) * accumulate] for share in shares]
        assert sorted(chain.from_iterable(chain.from_iterable(of_step))) == batch


def test_a_pair_is_never_parted():
    for rank in range(2):
        for batch in BatchPlan(22, 6, 2, rank, 2).batches():
            assert all(a % 2 == 0 and b == a + 1 for a, b in zip(batch[::2], batch[1::2]))  # noqa: B905


def test_an_epoch_goes_on_where_it_stopped():
    plan = BatchPlan(64, 4, 2, 1, 2)
    assert list(plan.batches(first_step=3)) == list(plan.batches())[6:]
    assert list(plan.batches(first_step=plan.steps)) == []


def test_too_few_samples_fill_one_step_by_starting_anew():
    plan = BatchPlan(6, 4, 2)
    assert plan.steps == 1
    assert list(plan.batches()) == [[0, 1, 2, 3], [4, 5, 0, 1]]
