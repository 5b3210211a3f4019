from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from encoders.batches import FEWEST_PAIRS, Batches, histories_at
from encoders.buckets import age_bucket
from encoders.distributed import Ranks
from encoders.impressions import ShownBatches
from encoders.kinds import NO_KINDS
from encoders.sequences import Sequences, Shown, read_sequences
from encoders.step_input import step_input
from encoders.trainer import Trainer, build

DAY = 86_400_000_000


def _log(users, n_items=6):
    """Make a log from {user: [(item, day, weight)]}."""
    rows = [event for events in users for event in events]
    return Sequences(
        texts=[f"text {n}" for n in range(n_items)],
        starts=np.cumsum([0, *(len(events) for events in users)]),
        items=np.array([row[0] for row in rows]),
        weights=np.array([row[2] for row in rows], np.float32),
        times=np.array([row[1] * DAY for row in rows]),
        codes=np.zeros(len(rows), np.uint8),
        kinds=NO_KINDS,
        shown=Shown.nothing(),
    )


def _batches(data, **changes):
    settings = {"length": 4, "pairs_at_once": 1000, "pairs_per_epoch": 1000, "negatives": 50, "negatives_power": 0.5}
    return Batches(data, **(settings | changes))


def _pairs(data, **changes):
    """Return (history's last item, target, gap bucket) of each pair of one epoch."""
    return sorted(
        (int(b.histories.items[r, p]), int(b.candidates[t]), int(g))
        for b in _batches(data, **changes).epoch(np.random.default_rng(0))
        for r, p, t, g in zip(b.row, b.place, b.target, b.gap, strict=True)
    )


def test_targets_of_one_instant_share_the_state_before_it():
    data = _log([[(0, 1, 1), (1, 2, 1), (2, 2, 1)]])
    one_day = int(age_bucket(86_400))
    assert _pairs(data) == [(0, 1, one_day), (0, 2, one_day)]


def test_repeats_and_refusals_are_no_targets():
    data = _log([[(0, 1, 1), (1, 2, 1), (0, 3, 1), (2, 4, -1)]])
    assert [target for _, target, _ in _pairs(data)] == [1]


def test_each_event_of_a_long_history_is_a_target_once():
    data = _log([[(n, n, 1) for n in range(6)]])
    for seed in range(5):
        targets = [
            int(b.candidates[t]) for b in _batches(data, length=2).epoch(np.random.default_rng(seed)) for t in b.target
        ]
        assert sorted(targets) == [1, 2, 3, 4, 5]


def test_negatives_could_have_been_chosen_at_that_moment():
    # item 4 is first seen on day 9, item 5 never
    data = _log([[(0, 1, 1), (1, 2, 1)], [(2, 1, 1), (3, 3, 1)], [(2, 5, 1), (4, 9, 1)]])
    (batch,) = _batches(data).epoch(np.random.default_rng(0))
    assert 5 not in batch.candidates
    barred = step_input(batch, None, SimpleNamespace(forgets=True)).pairs.barred().numpy()
    column = {int(item): place for place, item in enumerate(batch.candidates)}
    pair = {int(batch.candidates[t]): n for n, t in enumerate(batch.target)}
    assert barred[pair[1], column[4]], "not seen by anyone yet on day 2"
    assert barred[pair[1], column[0]], "the user's own"
    assert barred[pair[1], column[3]], "first seen on day 3"
    assert not barred[pair[1], column[2]], "seen on day 1 and never this user's"
    assert not barred[np.arange(3), batch.target].any()


def test_history_is_strictly_before_the_moment():
    data = _log([[(0, 1, 1), (1, 2, 1), (2, 3, 1)]])
    found, counts, gap = histories_at(data, np.array([0, 0]), np.array([3 * DAY, 3 * DAY + 1]), 4)
    assert counts.tolist() == [2, 3]
    assert found.items[0, :2].tolist() == [0, 1]
    assert gap.tolist() == [int(age_bucket(86_400)), 0]


def test_shown_batches_hold_clicks_and_skips(shop):
    shown = ShownBatches(read_sequences(shop.folder), length=8, requests=10)
    batch = shown.draw(np.random.default_rng(0))
    assert batch.items.shape == (10, 2)
    assert batch.clicked.sum(axis=1).tolist() == [1] * 10
    assert (batch.place == 7).all(), "eight or nine events before each request, eight read"


def test_a_small_log_is_cut_into_smaller_steps(shop):
    data = read_sequences(shop.folder)
    pairs = len(data.items) - data.n_users

    def at_once(**changes):
        settings = {
            "length": 4,
            "pairs_at_once": 2048,
            "pairs_per_epoch": 200_000,
            "negatives": 5,
            "negatives_power": 0.5,
        }
        return Batches(data, **settings | changes)

    assert pairs == 90 * 9
    assert (at_once().pairs_at_once, at_once().steps) == (2048, 1)
    assert (at_once(least_steps=10).pairs_at_once, at_once(least_steps=10).steps) == (pairs // 10, 10)
    assert at_once(least_steps=10, pairs_at_once=60).pairs_at_once == 60, "a step is no larger than it was"
    assert at_once(least_steps=10, pairs_per_epoch=400).pairs_at_once == 40
    assert at_once(least_steps=1000).pairs_at_once == FEWEST_PAIRS
    steps = len(list(at_once(least_steps=10).epoch(np.random.default_rng(0))))
    assert 10 <= steps <= 12


@pytest.mark.parametrize("world", [1, 3])
def test_every_process_has_the_least_steps(shop, small, monkeypatch, world):
    monkeypatch.setattr(Ranks, "copy_first", lambda self, values: None)
    data = read_sequences(shop.folder)
    encoder, tower, _ = build(small, data.texts)
    config = replace(small, pairs_at_once=2048, least_steps=8)
    trainer = Trainer(config, encoder, tower, data, continued=False, ranks=Ranks(world=world))
    assert 8 <= trainer.steps_an_epoch <= 9
