"""Is a person really gone? Everything in the workspace is searched: tables, columns, and the bytes of every file."""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ingest.bundle_folders import BundleFolder, bundle_folders
from ingest.erase import BundleWithPerson, gone_by
from ingest.erase_outbox import unfinished_erasures
from ingest.errors import OutboxError, first_line
from ingest.held import is_held
from ingest.mentions import Person
from ingest.progress import Progress, silent
from ingest.retention import RetentionConfig, erased_bundles
from ingest.search_bytes import count_anywhere, search_bytes
from ingest.search_tables import SEARCHING, TableHits, search_duckdb, search_parquet, search_sqlite
from ingest.store import Store
from ingest.workspace import Workspace

_IN_FREE = "in the bytes of rows deleted earlier"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Somewhere that names the person, or may."""

    place: str
    """File, and for tables the column."""
    count: int
    note: str = ""


@dataclass(kw_only=True)
class Searched:
    """What was found, and where nothing could be searched."""

    found: list[Place] = field(default_factory=list)
    expected: list[BundleWithPerson] = field(default_factory=list)
    """Bundles trained with somebody erased since, and not yet due."""
    doubtful: list[Place] = field(default_factory=list)
    """Where the same characters may mean something else."""
    unsearched: list[Place] = field(default_factory=list)
    files: int = 0
    """How many files were searched."""

    @property
    def clean(self) -> bool:
        """Whether the person is named nowhere but in bundles that will go, and everything could be searched."""
        return not self.found and not self.unsearched


def search(
    workspace: Workspace, person: Person, config: RetentionConfig, now: datetime, *, progress: Progress = silent
) -> Searched:
    """Search the whole workspace; StoreError while a job writes the store, because then nothing would be proved.

    Links are followed. Bundles are expected to hold the person until the date that the erasure set.
    """
    bundles = {bundle.version: bundle for bundle in bundle_folders(workspace.bundles_path)}
    erased: dict[str, datetime] = {}
    if workspace.store_path.exists():
        with Store.open(workspace.store_path, read_only=True) as store:
            erased = erased_bundles(store)
    result = Searched()
    in_bundles: defaultdict[str, int] = defaultdict(int)
    files = list(_files(workspace.root, result))
    for number, path in enumerate(files):
        name = str(path.relative_to(workspace.root))
        progress("search", number, len(files), name)
        part = _search_file(path, name, person)
        parts = Path(name).parts
        if len(parts) > 2 and workspace.root / parts[0] == workspace.bundles_path and parts[1] in bundles:
            in_bundles[parts[1]] += sum(place.count for place in part.found)
        else:
            result.found += part.found
        result.doubtful += part.doubtful
        result.unsearched += part.unsearched
        result.files += 1
    progress("search", len(files), len(files))
    for version, count in sorted(in_bundles.items()):
        if count:
            _judge_bundle(bundles[version], count, erased.get(version), config, now, result)
    if unfinished_erasures(workspace.outbox_path):
        note = "an erasure was begun and never completed: run `readrank forget` for that person again"
        result.doubtful.append(Place(place=workspace.outbox_path.name, count=1, note=note))
    return result


def _judge_bundle(
    bundle: BundleFolder,
    count: int,
    erased_at: datetime | None,
    config: RetentionConfig,
    now: datetime,
    result: Searched,
) -> None:
    name = f"bundles/{bundle.version}"
    if erased_at is None:
        result.found.append(Place(place=name, count=count, note="no erasure names it: run `readrank forget` first"))
        return
    due = gone_by(erased_at, config)
    if due is not None and due < now:
        advice = "train and promote another, then it goes"
        if not bundle.live:
            advice = "the next `readrank ingest`, `train` or `refresh` removes it: run one"
        result.found.append(Place(place=name, count=count, note=f"was to be gone by {due:%Y-%m-%d}; {advice}"))
    else:
        result.expected.append(BundleWithPerson(version=bundle.version, live=bundle.live, gone_by=due))


def _files(root: Path, result: Searched) -> Iterator[Path]:
    """Walk everything below the workspace, hidden and linked folders too, each real folder once."""
    seen: set[str] = set()

    def cannot(error: OSError) -> None:
        result.unsearched.append(Place(place=str(error.filename), count=1, note=str(error.strerror)))

    for folder, folders, files in os.walk(root, followlinks=True, onerror=cannot):
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        # The copy of another search goes at its end; one that a killed search left is searched.
        folders[:] = sorted(
            name for name in folders if not (name.startswith(SEARCHING) and is_held(Path(folder, name)))
        )
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_file():  # neither sockets nor links that lead nowhere
                yield path


def _search_file(path: Path, name: str, person: Person) -> Searched:
    result = Searched()
    if person.is_named_in(name):
        result.found.append(Place(place=name, count=1, note="in its name"))
    try:
        if not _search_tables(path, name, person, result):
            hits = search_bytes(path, person)
            if hits.certain:
                result.found.append(Place(place=name, count=hits.certain))
            if hits.doubtful:
                result.doubtful.append(Place(place=name, count=hits.doubtful, note="as a bare number or inside bytes"))
    except FileNotFoundError:
        pass  # a job or a service has removed it since
    except OSError as error:
        result.unsearched.append(Place(place=name, count=1, note=error.strerror or str(error)))
    return result


def _search_tables(path: Path, name: str, person: Person, result: Searched) -> bool:
    """Search a file of tables by its columns, then for what deleted rows left; False for any other file."""
    import duckdb

    with path.open("rb") as file:
        head = file.read(16)
    try:
        if head[8:12] == b"DUCK":
            hits = search_duckdb(path, person)
        elif head[:4] == b"PAR1":
            hits = search_parquet(path, person)
        elif head == b"SQLite format 3\x00":
            hits = search_sqlite(path, person)
        else:
            return False
    except (duckdb.Error, sqlite3.Error, OutboxError) as error:
        # Its bytes are all that can be searched, and they may be compressed.
        result.unsearched.append(Place(place=name, count=1, note=f"its tables cannot be read: {first_line(error)}"))
        return False
    for column in hits.columns:
        if column.certain:
            result.found.append(Place(place=f"{name}: {column.place}", count=column.certain))
        if column.doubtful:
            note = "perhaps something else of the same name"
            result.doubtful.append(Place(place=f"{name}: {column.place}", count=column.doubtful, note=note))
    _search_free_bytes(path, name, person, hits, result)
    return True


def _search_free_bytes(path: Path, name: str, person: Person, hits: TableHits, result: Searched) -> None:
    if hits.free_bytes:
        result.found.append(Place(place=name, count=hits.free_bytes, note=_IN_FREE))
    elif not hits.somewhere:
        # No row holds the id, not even inside a longer one, so whatever the bytes hold is left over.
        count = count_anywhere(path, person)
        if count:
            result.found.append(Place(place=name, count=count, note=_IN_FREE))
