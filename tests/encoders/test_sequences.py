"""What a training folder must hold, and which events may be asked for."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from encoders.errors import TrainingDataError
from encoders.export import export_frames
from encoders.measure import held_out
from encoders.sequences import read_sequences
from ingest.moments import to_microseconds

AT = datetime(2024, 1, 1)


def changed(shop, folder, file, change):
    for path in shop.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    change(pl.read_parquet(folder / file)).write_parquet(folder / file)
    return folder


def first_row(name, values):
    """Give the list of the first line another content."""
    return lambda frame: frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(pl.lit(pl.Series([values]))).otherwise(pl.col(name)).alias(name)
    )


@pytest.mark.parametrize(
    ("file", "name", "values", "told"),
    [
        ("impressions", "items", [99, 120], "wanted rows of 120 items in items, got 120"),
        ("impressions", "clicked_at", [5], "got 2 items and 1 clicked_at in line 1"),
        ("sequences", "items", [*range(9), -1], "wanted rows of 120 items in items, got -1"),
        ("sequences", "weights", [1.0] * 9, "got 10 items and 9 weights in line 1"),
        ("sequences", "times", [*range(8), 9, 8], "wanted each user's times oldest first, got 8 after 9"),
    ],
)
def test_what_no_export_writes_is_told_with_its_file_and_value(shop, tmp_path, file, name, values, told):
    changed(shop, tmp_path, f"{file}.parquet", first_row(name, values))
    with pytest.raises(TrainingDataError, match=rf"{file}\.parquet: .*{told}; export it again"):
        read_sequences(tmp_path)


def test_lists_that_are_as_long_together_but_not_each_are_refused(shop, tmp_path):
    def shifted(frame):
        longer = pl.col("weights").list.concat(pl.col("weights").list.head(1))
        place = pl.int_range(pl.len())
        shorter = pl.col("weights").list.head(9)
        return frame.with_columns(
            pl.when(place == 0)
            .then(longer)
            .when(place == 1)
            .then(shorter)
            .otherwise(pl.col("weights"))
            .alias("weights")
        )

    changed(shop, tmp_path, "sequences.parquet", shifted)
    with pytest.raises(TrainingDataError, match="got 10 items and 11 weights in line 1"):
        read_sequences(tmp_path)


def test_a_column_of_something_else_than_lists_is_told(shop, tmp_path):
    changed(shop, tmp_path, "sequences.parquet", lambda frame: frame.with_columns(times=pl.lit(5)))
    with pytest.raises(TrainingDataError, match=r"sequences\.parquet: wanted lists in times, got int"):
        read_sequences(tmp_path)


def test_what_occurred_at_the_instant_is_not_before_it(shop):
    data = read_sequences(shop.folder)
    moment = int(data.times[5])
    assert data.before(moment).times.max() < moment
    assert len(data.before(moment + 1).items) - len(data.before(moment).items) == (data.times == moment).sum() > 0


def test_each_user_takes_and_meets_items_alone(tmp_path):
    """The first user takes the second item twice; the second user takes the first item, then the second."""
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["one", "two"]})
    rows = [("u", "b", "buy", 5.0, AT + n * timedelta(days=1)) for n in (0, 2)]
    frame = pl.DataFrame(
        [*rows, ("v", "a", "buy", 5.0, AT + timedelta(days=1)), ("v", "b", "buy", 5.0, AT + timedelta(days=3))],
        schema={"user_id": str, "item_id": str, "kind": str, "weight": float, "occurred_at": pl.Datetime("us")},
        orient="row",
    )
    export_frames(items, frame, tmp_path, before=AT + timedelta(days=99))
    data = read_sequences(tmp_path)
    assert data.takes().tolist() == data.meets().tolist() == [True, False, True, True]


def test_nobody_is_asked_for_an_item_that_they_had_met_before(tmp_path):
    """It is barred from their ranking, so it could only be missed; at the same instant it is not."""
    items = pl.DataFrame({"item_id": list("abcd"), "title": ["one", "two", "three", "four"]})
    events = [
        ("u", "a", "buy", 5.0, 0),
        ("u", "b", "hide", -1.0, 1),
        ("u", "c", "view", 0.0, 2),
        ("u", "b", "buy", 5.0, 8),
        ("u", "c", "buy", 5.0, 8),
        ("u", "d", "view", 0.0, 9),
        ("u", "d", "buy", 5.0, 9),
    ]
    frame = pl.DataFrame(
        [(*rest, AT + timedelta(days=day)) for *rest, day in events],
        schema={"user_id": str, "item_id": str, "kind": str, "weight": float, "occurred_at": pl.Datetime("us")},
        orient="row",
    )
    export_frames(items, frame, tmp_path, before=AT + timedelta(days=99))
    data = read_sequences(tmp_path)
    assert data.takes().tolist() == [True, False, False, True, True, False, True]
    assert data.meets().tolist() == [True, True, True, False, False, True, True]
    asked = held_out(data, to_microseconds(AT + timedelta(days=5)), most=99, seed=0)
    assert asked.targets.tolist() == [3]
