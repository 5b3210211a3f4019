"""What does a training folder hold? Its Parquet files as flat arrays, cut at a moment."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.buckets import weight_bucket
from encoders.errors import TrainingDataError
from encoders.kinds import Codes, Kinds
from encoders.training_folder import COLUMNS, IMPRESSIONS, ITEMS, KINDS, ROWS, SEQUENCES, TIME, TIMES, WEIGHTS
from ingest import columns as c
from ingest.moments import NEVER

log = logging.getLogger(__name__)

_AT_ONCE = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Requests with what was shown and clicked: `items[starts[r] : starts[r + 1]]` belong to request `r`."""

    users: NDArray[np.int64]
    times: NDArray[np.int64]
    starts: NDArray[np.int64]
    items: NDArray[np.int64]
    clicked_at: NDArray[np.int64]
    """When each item was clicked, in microseconds since 1970; `NEVER` for a skip."""

    @classmethod
    def nothing(cls) -> "Shown":
        """Return no requests."""
        none = np.zeros(0, np.int64)
        return cls(users=none, times=none, starts=np.zeros(1, np.int64), items=none, clicked_at=none)

    @property
    def clicked(self) -> NDArray[np.bool_]:
        """Whether each item was clicked."""
        return self.clicked_at < NEVER

    def before(self, moment: int) -> "Shown":
        """Return what was shown before a moment; what was clicked at or after it counts as skipped."""
        kept = self.times < moment
        lengths = np.diff(self.starts)
        part = np.repeat(kept, lengths)
        clicked_at = self.clicked_at[part]
        return Shown(
            users=self.users[kept],
            times=self.times[kept],
            starts=np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64),
            items=self.items[part],
            clicked_at=np.where(clicked_at < moment, clicked_at, NEVER),
        )


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """The log as flat arrays sorted by user and time: events `starts[u] : starts[u + 1]` belong to user `u`."""

    texts: Sequence[str]
    starts: NDArray[np.int64]
    items: NDArray[np.int64]
    weights: NDArray[np.float32]
    times: NDArray[np.int64]
    """Microseconds since 1970."""
    codes: Codes
    """What each event was, as a code of `kinds`."""
    kinds: Kinds
    shown: Shown

    @property
    def n_items(self) -> int:
        """Items of the catalogue, touched or not."""
        return len(self.texts)

    @property
    def n_users(self) -> int:
        """Users with at least one event."""
        return len(self.starts) - 1

    @cached_property
    def users(self) -> NDArray[np.int64]:
        """The user of each event."""
        return np.repeat(np.arange(self.n_users), np.diff(self.starts))

    def first_seen(self) -> NDArray[np.int64]:
        """Return for each item the moment of its first interaction or impression; the end of time for none."""
        first = self.first_touch()
        moments = np.repeat(self.shown.times, np.diff(self.shown.starts))
        np.minimum.at(first, self.shown.items, moments)
        return first

    def first_touch(self) -> NDArray[np.int64]:
        """Return for each item the moment of its first interaction; the end of time for none."""
        first = np.full(self.n_items, NEVER)
        np.minimum.at(first, self.items, self.times)
        return first

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Whether each item's text says anything [items]."""
        return np.array([bool(text.strip()) for text in self.texts], dtype=bool)

    def takes(self) -> NDArray[np.bool_]:
        """Return for each event whether it is the user's first of positive weight with that item.

        Events of weight zero and refusals may stand before it.
        """
        key = self._pairs()
        positive = np.flatnonzero(self.weights > 0)
        _, first = np.unique(key[positive], return_index=True)
        out = np.zeros(len(self.items), bool)
        out[positive[first]] = True
        return out

    def meets(self) -> NDArray[np.bool_]:
        """Return for each event whether its user had no event at all with that item strictly before it."""
        _, first, pair = np.unique(self._pairs(), return_index=True, return_inverse=True)
        return np.asarray(self.times == self.times[first][pair], bool)

    def _pairs(self) -> NDArray[np.int64]:
        """Return a number for each event's user and item together."""
        return self.users * max(self.n_items, 1) + self.items

    def before(self, moment: int) -> "Sequences":
        """Return the same log with only what occurred strictly before `moment` (microseconds)."""
        keep = self.times < moment
        kept = np.concatenate([[0], np.cumsum(keep)])[self.starts]
        return Sequences(
            texts=self.texts,
            starts=kept.astype(np.int64),
            items=self.items[keep],
            weights=self.weights[keep],
            times=self.times[keep],
            codes=self.codes[keep],
            kinds=self.kinds,
            shown=self.shown.before(moment),
        )

    def of_kinds(self, kinds: Kinds) -> "Sequences":
        """Return the same log in another vocabulary of kinds; what is not in it has the code 0."""
        return replace(self, codes=kinds.codes_of(self.kinds)[self.codes], kinds=kinds)

    def kinds_beside_weights(self) -> Kinds:
        """Return the kinds that weights do not tell: those that share a weight's bucket with another kind.

        Of a log with one kind, and of one whose kinds all weigh differently, that is none.
        """
        n_codes = len(self.kinds) + 1
        pairs = np.unique(weight_bucket(self.weights) * n_codes + self.codes)
        bucket, code = pairs // n_codes, pairs % n_codes
        shared = np.zeros(n_codes, bool)
        shared[code[np.bincount(bucket)[bucket] > 1]] = True
        return Kinds(tuple(name for name, code in self.kinds.by_name.items() if shared[code]))


def read_sequences(folder: Path) -> Sequences:
    """Read a training folder; `TrainingDataError` names the file and value that no export writes.

    Those are a missing file or column, lists of unequal length, rows that point nowhere, and times out of order.
    """
    texts = [text or "" for text in _read(folder / ITEMS).column(c.TEXT).to_pylist()]
    path = folder / SEQUENCES
    table = _read(path)
    starts, rows = _flat(path, table, ROWS, np.int64)
    kinds, codes = _kinds(path, table)
    weights, times = (_flat(path, table, name, kind)[1] for name, kind in ((WEIGHTS, np.float32), (TIMES, np.int64)))
    _check(path, table, (KINDS, WEIGHTS, TIMES), rows, len(texts))
    backwards = np.diff(times) < 0
    ends = starts[1:-1]
    backwards[ends[(ends > 0) & (ends < len(times))] - 1] = False  # the next user may begin earlier
    if backwards.any():
        place = int(backwards.argmax())
        raise TrainingDataError(
            f"{path}: wanted each user's {TIMES} oldest first, got {times[place + 1]} after {times[place]}; "
            "export it again"
        )
    return Sequences(
        texts=texts,
        starts=starts,
        items=rows,
        weights=weights,
        times=times,
        codes=codes,
        kinds=kinds,
        shown=_read_shown(folder / IMPRESSIONS, table.column(c.USER_ID).to_pylist(), len(texts)),
    )


def read_ids(folder: Path) -> list[str]:
    """Return the ids of a training folder's items, in the order of its rows."""
    ids: list[str] = _read(folder / ITEMS).column(c.ITEM_ID).to_pylist()
    return ids


def _read_shown(path: Path, user_ids: list[str], n_items: int) -> Shown:
    if not path.is_file():
        return Shown.nothing()
    table = _read(path)
    place = {user: row for row, user in enumerate(user_ids)}
    users = np.array([place.get(user, -1) for user in table.column(c.USER_ID).to_pylist()], dtype=np.int64)
    starts, rows = _flat(path, table, ROWS, np.int64)
    _, clicked_at = _flat(path, table, c.CLICKED_AT, np.int64)
    _check(path, table, (c.CLICKED_AT,), rows, n_items)
    times = table.column(TIME).to_numpy().astype(np.int64)
    return Shown(users=users, times=times, starts=starts, items=rows, clicked_at=clicked_at)


def _read(path: Path) -> Any:
    """Read one of the folder's files; each holds what `COLUMNS` says."""
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise TrainingDataError(
            f"{path}: wanted a training folder, found no {path.name}; export the training data first"
        )
    try:
        table = parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TrainingDataError(f"{path}: wanted a Parquet file, got {error}; export it again") from error
    wanted = COLUMNS[path.name]
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise TrainingDataError(
            f"{path}: wanted columns {', '.join(wanted)}, got no {', '.join(missing)}; export it again"
        )
    return table


def _check(path: Path, table: Any, others: Sequence[str], rows: NDArray[np.int64], n_items: int) -> None:
    """Raise `TrainingDataError` unless all lists of a line are as long as its items, and these are in the catalogue."""
    wanted = _lengths(path, table, ROWS)
    for name in others:
        got = _lengths(path, table, name)
        wrong = np.flatnonzero(got != wanted)
        if len(wrong):
            line = wrong[0]
            raise TrainingDataError(
                f"{path}: wanted lists of equal length, got {wanted[line]} {ROWS} and {got[line]} {name} in line "
                f"{line + 1}; export it again"
            )
    outside = rows[(rows < 0) | (rows >= n_items)]
    if len(outside):
        raise TrainingDataError(f"{path}: wanted rows of {n_items} items in {ROWS}, got {outside[0]}; export it again")


def _kinds(path: Path, table: Any) -> tuple[Kinds, Codes]:
    """Return the vocabulary of a log's kinds, and each event's code."""
    import pyarrow as pa
    from pyarrow import compute

    column = _column(path, table, KINDS)
    flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
    counts = compute.value_counts(flat.drop_null()).to_pylist()
    kinds = Kinds.of_counts((str(one["values"]), one["counts"]) for one in counts)
    names, codes = pa.array(kinds.names, column.type.value_type), np.zeros(len(flat), np.uint8)
    for start in range(0, len(flat), _AT_ONCE):
        place = compute.index_in(flat.slice(start, _AT_ONCE), names)
        codes[start : start + _AT_ONCE] = compute.fill_null(compute.add(place, 1), 0).to_numpy()
    return kinds, codes


def _flat(path: Path, table: Any, name: str, dtype: Any) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return where each line's list begins, and all lists as one array."""
    column = _column(path, table, name).combine_chunks()
    if hasattr(column, "chunks"):  # a chunked array without chunks, when the table has no rows
        return np.zeros(1, np.int64), np.zeros(0, dtype)
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(dtype)
    return np.concatenate([[0], np.cumsum(_lengths(path, table, name))]).astype(np.int64), flat


def _lengths(path: Path, table: Any, name: str) -> NDArray[np.int64]:
    """Return how long each line's list is."""
    from pyarrow import compute

    lengths = compute.list_value_length(_column(path, table, name)).fill_null(0)
    return np.asarray(lengths.to_numpy(), np.int64)


def _column(path: Path, table: Any, name: str) -> Any:
    """Return a column of lists; `TrainingDataError` where it holds anything else."""
    import pyarrow as pa

    column = table.column(name)
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        raise TrainingDataError(f"{path}: wanted lists in {name}, got {column.type}; export it again")
    return column
