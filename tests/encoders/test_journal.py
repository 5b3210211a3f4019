import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders.errors import DivergedError
from encoders.journal import Journal, Step
from encoders.sequences import read_sequences
from encoders.train import train
from encoders.trainer import Trainer, build
from ingest.progress import silent


def _logged(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_gets_steps_and_epochs_in_one_file(shop, small, tmp_path):
    config = replace(small, epochs=2, patience=2, tensorboard=True, warmup_steps=3)
    report = train(shop.folder, tmp_path / "m", config)
    assert len(list((tmp_path / "m.tensorboard").iterdir())) == 1
    logged = _logged(tmp_path / "m.tensorboard")
    steps = sum(epoch.steps for epoch in report.epochs)
    assert [number for number, _ in logged["step/loss"]] == list(range(1, steps + 1))
    # the mean of an epoch's steps is the epoch's loss
    first = [value for _, value in logged["step/loss"][: report.epochs[0].steps]]
    assert np.mean(first) == pytest.approx(report.epochs[0].loss, rel=1e-5)
    assert logged["epoch/loss"] == [(n + 1, pytest.approx(e.loss)) for n, e in enumerate(report.epochs)]
    recall = [(n + 1, pytest.approx(e.figures.recall_at_10)) for n, e in enumerate(report.epochs)]
    assert logged["held out/recall_at_10"] == recall
    # three steps up by thirds while the epochs' share goes down from 1
    rates = [value for _, value in logged["step/learning rate"]]
    assert rates[0] == pytest.approx(config.learning_rate / 3)
    assert rates[1] < rates[2]
    assert rates[-1] < rates[3]
    assert all(value > 0 for _, value in logged["step/items a second"])


def test_a_resumed_log_drops_what_is_done_again(tmp_path):
    def steps(journal, numbers):
        for number in numbers:
            step = Step(number=number, loss=torch.tensor(float(number)), tokens=3, texts=1, rate=0.1)
            journal.step(step, number, 9)
        journal.end_of_steps()
        journal.close()

    steps(Journal(silent, tmp_path), range(1, 6))  # killed in its fifth step; the state is that after the third
    steps(Journal(silent, tmp_path, done_steps=3), range(4, 8))
    assert [number for number, _ in _logged(tmp_path)["step/loss"]] == list(range(1, 8))


def test_notes_tell_loss_and_speed_and_totals_add_up(shop, small):
    data = read_sequences(shop.folder)
    config = replace(small, impressions_share=0.0)
    encoder, tower, _ = build(config, data.texts)
    trainer = Trainer(config, encoder, tower, data, continued=False)
    encoded, notes = [], []
    inner = encoder.vectors

    def watched(rows, *, cold=None):
        encoded.append(rows)
        return inner(rows, cold=cold)

    encoder.vectors = watched
    totals = trainer.epoch(0, 1, Journal(lambda step, done, total=None, note="": notes.append(note)))
    assert len(notes) == totals.steps == len(encoded)
    assert totals.texts == sum(len(rows) for rows in encoded)
    assert totals.tokens == sum(int(encoder.text_lengths[rows].sum()) for rows in encoded)
    assert all(re.fullmatch(r"loss \d+\.\d{3} [\d.]+[kM]? items/s [\d.]+[kM]? tokens/s", note) for note in notes)


def test_a_log_without_tensorboard_is_said_to_be_missing(shop, small, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    train(shop.folder, tmp_path / "m", replace(small, epochs=1, tensorboard=True))
    assert "tensorboard is not installed" in caplog.text
    assert (tmp_path / "m" / "tower.npz").is_file()


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training_with_its_step_and_a_way_out(loss):
    journal = Journal(silent)
    journal.step(Step(number=1, loss=torch.tensor(2.0), tokens=3, texts=1, rate=0.1), 1, 9)
    with pytest.raises(DivergedError, match=rf"got {loss} in step 2; lower learning_rate"):
        journal.step(Step(number=2, loss=torch.tensor(loss), tokens=3, texts=1, rate=0.1), 2, 9)
