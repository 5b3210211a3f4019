"""How does what the store knows become a training folder? Three Parquet files that need no store to be read."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.overwrite import check_export_place
from encoders.text import TextConfig, item_texts
from encoders.training_folder import IMPRESSIONS, ITEMS, KINDS, ROWS, SEQUENCES, TIME, TIMES, WEIGHTS
from ingest import columns as c
from ingest.moments import NEVER
from ingest.whole_file import written_whole

if TYPE_CHECKING:
    import polars as pl

    from ingest.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export wrote, and what it had to leave out."""

    items: int
    users: int
    events: int
    requests: int
    events_of_unknown_items: int
    """Interactions and impressions whose item is not in the catalogue: there is no text to learn from."""


def export_training(store: Store, folder: Path | str, *, before: datetime, text: TextConfig | None = None) -> Exported:
    """Write the training folder from the store: nothing that occurred, and no text written, at or after `before`.

    An earlier export there is replaced; files of its names that are no export's are refused with `EncoderError`.
    """
    check_export_place(Path(folder))
    return export_frames(
        store.items(before=before),
        store.interactions(before=before),
        folder,
        before=before,
        impressions=store.impressions(before=before),
        text=text,
    )


def export_frames(
    items: pl.DataFrame,
    interactions: pl.DataFrame,
    folder: Path | str,
    *,
    before: datetime,
    impressions: pl.DataFrame | None = None,
    text: TextConfig | None = None,
    texts: list[str] | None = None,
) -> Exported:
    """Write the training folder from frames with the store's columns; `texts` spares reading the items again.

    `items.parquet` (item_id, text) is sorted by item_id; `sequences.parquet` has one row a user with the lists items
    (row numbers of items.parquet), kinds, weights and times (microseconds since 1970), oldest first, equal times in the
    order given; `impressions.parquet` (request_id, user_id, time, items, clicked_at) is written when anything was
    shown; `clicked_at` holds microseconds, the largest int64 for what was not clicked before the moment.
    """
    import polars as pl

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # an earlier export's rows point into its own items: an export that is killed leaves none, and is refused
    for name in (SEQUENCES, IMPRESSIONS):
        (folder / name).unlink(missing_ok=True)
    written = texts if texts is not None else item_texts(items, text)
    catalogue = items.select(c.ITEM_ID).with_columns(pl.Series(c.TEXT, written, dtype=pl.String)).sort(c.ITEM_ID)
    _write(catalogue, folder / ITEMS)
    rows = catalogue.select(c.ITEM_ID).with_row_index(ROWS)
    rows = rows.with_columns(pl.col(ROWS).cast(pl.Int32), pl.col(c.ITEM_ID).cast(pl.String))
    past = interactions.filter(pl.col(c.OCCURRED_AT) < before)
    known = past.join(rows, on=c.ITEM_ID, how="inner", maintain_order="left").sort(c.OCCURRED_AT, maintain_order=True)
    requests = lost = 0
    if impressions is not None and impressions.height:
        shown = impressions.filter(pl.col(c.OCCURRED_AT) < before)
        kept = shown.join(rows, on=c.ITEM_ID, how="inner", maintain_order="left")
        grouped = _by_request(kept, before)
        requests, lost = grouped.height, shown.height - kept.height
        if requests:
            _write(grouped, folder / IMPRESSIONS)
    sequences = _by_user(known)
    _write(sequences, folder / SEQUENCES)
    done = Exported(
        items=catalogue.height,
        users=sequences.height,
        events=known.height,
        requests=requests,
        events_of_unknown_items=past.height - known.height + lost,
    )
    log.info("exported folder=%s before=%s counts=%s", folder, before, done)
    return done


def _by_user(events: pl.DataFrame) -> pl.DataFrame:
    """Return one row a user of SEQUENCES, of events in order of time."""
    import polars as pl

    return (
        events.group_by(c.USER_ID)
        .agg(
            pl.col(ROWS),
            pl.col(c.KIND).alias(KINDS),
            pl.col(c.WEIGHT).cast(pl.Float32).fill_null(1.0).alias(WEIGHTS),
            pl.col(c.OCCURRED_AT).dt.epoch("us").alias(TIMES),
        )
        .sort(c.USER_ID)
    )


def _by_request(shown: pl.DataFrame, before: datetime) -> pl.DataFrame:
    """Return one row a request of IMPRESSIONS; a click at or after `before` is none."""
    import polars as pl

    clicked_at = pl.when(pl.col(c.CLICKED_AT) < before).then(pl.col(c.CLICKED_AT).dt.epoch("us")).otherwise(NEVER)
    return (
        shown.group_by(c.REQUEST_ID, c.USER_ID, maintain_order=True)
        .agg(pl.col(c.OCCURRED_AT).min().dt.epoch("us").alias(TIME), pl.col(ROWS), clicked_at.alias(c.CLICKED_AT))
        .sort(TIME, c.REQUEST_ID)
    )


def _write(frame: pl.DataFrame, path: Path) -> None:
    with written_whole(path) as unfinished:
        frame.write_parquet(unfinished)
