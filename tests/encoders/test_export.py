from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from encoders import export
from encoders.errors import TrainingDataError
from encoders.export import export_frames, export_training
from encoders.sequences import read_sequences
from encoders.training_folder import COLUMNS
from ingest.load import load_files
from ingest.moments import NEVER
from ingest.store import Store

AT = datetime(2024, 5, 1, 12)


def _export(tmp_path, before=AT):
    items = pl.DataFrame({"item_id": ["b", "a"], "title": ["Second", "First"]})
    interactions = pl.DataFrame(
        {
            "user_id": ["u", "u", "u", "v"],
            "item_id": ["b", "a", "a", "gone"],
            "kind": ["view", "like", "view", "view"],
            "weight": [1.0, 4.0, 1.0, 1.0],
            "occurred_at": [AT - timedelta(days=1), AT - timedelta(microseconds=1), AT, AT - timedelta(days=2)],
        },
        schema_overrides={"occurred_at": pl.Datetime("us")},
    )
    return export_frames(items, interactions, tmp_path, before=before)


def test_export_is_strictly_before_the_moment(tmp_path):
    done = _export(tmp_path)
    assert (done.events, done.users, done.items) == (2, 1, 2)
    rows = pl.read_parquet(tmp_path / "sequences.parquet").row(0, named=True)
    assert rows["items"] == [1, 0]
    assert rows["kinds"] == ["view", "like"]
    assert rows["weights"] == [1.0, 4.0]
    micro = int((AT - datetime(1970, 1, 1)) / timedelta(microseconds=1))
    assert rows["times"] == [micro - 86_400_000_000, micro - 1]


def test_export_counts_what_it_leaves_out(tmp_path):
    assert _export(tmp_path).events_of_unknown_items == 1


def test_export_of_nothing_can_be_read_back(tmp_path):
    _export(tmp_path, before=datetime(2000, 1, 1))
    data = read_sequences(tmp_path)
    assert (data.n_items, data.n_users, len(data.items)) == (2, 0, 0)


def test_takes_are_the_first_of_positive_weight(tmp_path):
    _export(tmp_path, before=AT + timedelta(days=1))
    assert read_sequences(tmp_path).takes().tolist() == [True, True, False]


def test_exported_impressions_are_grouped_by_request(shop):
    shown = read_sequences(shop.folder).shown
    assert len(shown.users) == 90 * 2
    assert shown.clicked.reshape(-1, 2).sum(axis=1).tolist() == [1] * 180


def test_a_click_after_the_moment_is_not_exported(shop, tmp_path):
    late = shop.impressions.with_columns(clicked_at=pl.col("clicked_at").dt.offset_by("1h"))
    moment = late["clicked_at"].drop_nulls().sort()[20]
    export_frames(shop.items, shop.interactions, tmp_path, before=moment, impressions=late)
    assert read_sequences(tmp_path).shown.clicked.sum() == (late["clicked_at"] < moment).sum() > 0


def test_a_click_after_the_moment_is_not_read(shop):
    data = read_sequences(shop.folder)
    moment = int(np.sort(data.shown.times)[20])
    late = replace(data.shown, clicked_at=np.where(data.shown.clicked, data.shown.clicked_at + 129_600_000_000, NEVER))
    known = replace(data, shown=late).before(moment).shown
    assert len(known.times) == (data.shown.times < moment).sum()
    assert 0 < known.clicked.sum() == (late.clicked_at < moment).sum() < len(known.times)


def test_exported_texts_are_those_strictly_before_the_moment(tmp_path):
    instant = timedelta(microseconds=1)
    edits = [("oak", AT - timedelta(days=1)), ("elm", AT - instant), ("yew", AT), ("ash", AT + instant)]
    items = pl.DataFrame([("a", *edit) for edit in edits], schema=["item_id", "title", "updated_at"], orient="row")
    items.write_parquet(tmp_path / "items.parquet")
    with Store.open(tmp_path / "store.duckdb") as store:
        load_files(store, [tmp_path / "items.parquet"])
        for before, title in ((AT, "elm"), (AT + instant, "yew"), (AT - timedelta(days=9), "oak")):
            export_training(store, tmp_path / "out", before=before)
            assert pl.read_parquet(tmp_path / "out" / "items.parquet")["text"].to_list() == [f"{title}."]


def test_an_export_holds_the_columns_that_a_training_reads(shop):
    assert {path.name: tuple(pl.read_parquet_schema(path)) for path in shop.folder.iterdir()} == COLUMNS


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_export_that_is_killed_is_not_read_with_the_rows_of_an_earlier_one(shop, tmp_path, monkeypatch, done):
    """One item more, before all others: rows of the earlier export point one item too far down."""
    export_frames(shop.items, shop.interactions, tmp_path, before=shop.before, impressions=shop.impressions)
    more = pl.concat([shop.items.head(1).with_columns(item_id=pl.lit("a")), shop.items])
    left, write = [None] * done, export._write

    def killed(frame, path):
        left.pop()
        write(frame, path)

    monkeypatch.setattr(export, "_write", killed)
    with pytest.raises(IndexError):
        export_frames(more, shop.interactions, tmp_path, before=shop.before, impressions=shop.impressions)
    with pytest.raises(TrainingDataError, match="export the training data first"):
        read_sequences(tmp_path)
