"""What does a service load? A complete, versioned, checked folder, and the name of the one that serves."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ingest.bundle_folders import LIVE, MANIFEST, PREVIOUS, bundle_folders, version_named_by
from ingest.errors import HeldStoreError
from ingest.file_digests import file_sha256
from ingest.held import held
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.store import Store
from ingest.tell_bundles import tell_new_bundles
from ingest.whole_file import written_whole
from ingest.workspace import Workspace
from ranker.errors import BundleError

if TYPE_CHECKING:
    from ingest.retention import Retained, RetentionConfig

FORMAT: Final = 5
_READABLE: Final = (4, FORMAT)
_LIBRARIES: Final = ("readrank", "numpy", "polars", "scipy", "lightgbm", "implicit", "tokenizers", "torch")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself."""

    format: int
    version: str
    cutoff: str
    """The models have learned nothing from this moment on; naive UTC, ISO 8601."""
    created_at: str
    outbox_seq: int
    """Events accepted over HTTP up to this number are in the bundle's history if they happened before `known_until`."""
    feature_names: list[str]
    libraries: dict[str, str]
    settings: dict[str, Any]
    measured: dict[str, Any]
    """What training measured, and what it learned that lies in no file of its own: initial scores, weights of fused
    ranks, the order for cold users, how much lower untouched items stand, places for new items. Loading reads it."""
    files: dict[str, str]
    """SHA-256 of each file, by path inside the bundle."""
    text_attributes: list[str] = field(default_factory=list)
    """Attributes of items that its texts hold beside title, categories and description."""
    refreshed: dict[str, Any] | None = None
    """Of a bundle that was not trained but refreshed: from which version, and what was new."""
    tuned: dict[str, Any] | None = None
    """Settings that a search found, and how it judged them; among `settings` as well."""
    known_until: str | None = None
    """The history holds what happened before this moment: later than the cutoff where a bundle was refreshed. None: the
    cutoff."""


def write(
    bundles: Path,
    fill: Callable[[Path], None],
    *,
    cutoff: datetime,
    outbox_seq: int,
    feature_names: list[str],
    settings: dict[str, Any],
    measured: dict[str, Any],
    known_until: datetime | None = None,
    text_attributes: Sequence[str] = (),
    refreshed: dict[str, Any] | None = None,
    tuned: dict[str, Any] | None = None,
) -> Path:
    """Let `fill` write a bundle into a temporary folder, add the manifest and rename it to its version.

    Whatever goes wrong on the way, no folder with a version's name is left incomplete. The temporary folder of a killed
    job goes with the next one (`ingest.leftovers`).
    """
    bundles.mkdir(parents=True, exist_ok=True)
    created = utc_now()
    name = created.strftime("%Y%m%dT%H%M%S%f")[:-3]
    scratch = bundles / f".{name}.tmp"
    with held(scratch, wait=True):
        try:
            scratch.mkdir()
            fill(scratch)
            manifest = Manifest(
                format=FORMAT,
                version=name,
                cutoff=cutoff.isoformat(sep=" "),
                created_at=created.isoformat(sep=" ", timespec="seconds"),
                outbox_seq=outbox_seq,
                feature_names=feature_names,
                libraries=library_versions(),
                settings=settings,
                measured=measured,
                files={
                    str(path.relative_to(scratch)): file_sha256(path).hexdigest()
                    for path in sorted(scratch.rglob("*"))
                    if path.is_file()
                },
                text_attributes=list(text_attributes),
                refreshed=refreshed,
                tuned=tuned,
                known_until=None if known_until is None else known_until.isoformat(sep=" "),
            )
            (scratch / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1), encoding="utf-8")
            os.replace(scratch, bundles / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return bundles / name


def read_manifest(folder: Path) -> Manifest:
    """Check a bundle before any of it is used: format, every file present and unchanged."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: wanted a bundle, found no {MANIFEST}; run `readrank train` to make one")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{path}: wanted JSON, got a damaged file ({error}); train again or roll back") from error
    found = stored.get("format") if isinstance(stored, dict) else None
    if found not in _READABLE:
        raise BundleError(
            f"{folder}: wanted bundle format {FORMAT}, got {found!r}; train again with this version of readrank"
        )
    try:
        manifest = Manifest(**stored)
    except TypeError as error:
        raise BundleError(f"{path}: wanted a complete manifest, got {error}; train again or roll back") from error
    for name, wanted in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(
                f"{folder}: wanted {name}, found nothing; the bundle is incomplete: train again or roll back"
            )
        if file_sha256(file).hexdigest() != wanted:
            raise BundleError(
                f"{folder}: {name} is not what was written; the bundle is damaged: train again or roll back"
            )
    return manifest


def checked_manifest(folder: Path) -> Manifest:
    """Check a bundle as `read_manifest` does, and that its models know the features that there are."""
    from ranker.registry import FEATURE_NAMES

    manifest = read_manifest(folder)
    if manifest.feature_names != list(FEATURE_NAMES):
        missing = ", ".join(sorted(set(FEATURE_NAMES) - set(manifest.feature_names))) or "none"
        unknown = ", ".join(sorted(set(manifest.feature_names) - set(FEATURE_NAMES))) or "none"
        raise BundleError(
            f"{folder}: wanted the {len(FEATURE_NAMES)} features of this version in their order, got others "
            f"(missing: {missing}; unknown: {unknown}); train again"
        )
    return manifest


def named_folder(bundles: Path, version_name: str) -> Path:
    """Return the folder of a version; BundleError, with those there are, where it is the name of none."""
    folder = bundles / version_name
    if not version_name or Path(version_name).name != version_name or not folder.is_dir():
        there = ", ".join(bundle.version for bundle in bundle_folders(bundles)) or "none yet: run `readrank train`"
        raise BundleError(f"{bundles}: wanted the name of a bundle in it, got {version_name!r}; there are {there}")
    return folder


def promote(bundles: Path, version_name: str) -> None:
    """Name the bundle that serves, in one atomic step; it must exist, be whole and know the features that there are.

    The one that served before stays named in `previous`: it is the way back, and retention spares it. One that is gone
    or damaged is none; then the way back stays as it was.
    """
    checked_manifest(named_folder(bundles, version_name))
    before = version_named_by(bundles, LIVE)
    if before and before != version_name:
        with suppress(BundleError):
            read_manifest(named_folder(bundles, before))
            _point(bundles, PREVIOUS, before)
    _point(bundles, LIVE, version_name)


def settle(
    workspace: Workspace,
    version_name: str,
    retention: "RetentionConfig",
    *,
    serve: bool,
    progress: Progress = silent,
) -> "tuple[bool, Retained]":
    """Let a new bundle serve if it shall, then remove what retention lets go; gives whether it serves, and what went.

    In this order, so that retention knows which bundle serves and which is the way back. Another job that has the store
    is waited for; where that takes too long, HeldStoreError says whether the bundle serves.
    """
    from ingest.retention import retain

    if serve:
        promote(workspace.bundles_path, version_name)
    waiting = "what retention removes waits for the next ingest, train, nightly or refresh"
    with _all_but_the_store(workspace.bundles_path / version_name, waiting):
        retained = retain(workspace, retention, utc_now(), progress=progress)
    return version_named_by(workspace.bundles_path, LIVE) == version_name, retained


def rollback(bundles: Path) -> tuple[str, str]:
    """Let the bundle serve that served before, in one atomic step; gives its version and that of the one it replaces.

    The one replaced becomes the way back: rolling back twice returns to where one was. Raises BundleError, and changes
    nothing, when no other bundle has served, or the one that has is gone or no longer whole.
    """
    serving, version_name = live_folder(bundles).name, version_named_by(bundles, PREVIOUS)
    if version_name is None or version_name == serving:
        raise BundleError(
            f"{bundles}: wanted a bundle that served before {serving}, found none; "
            "`readrank promote VERSION` lets any other serve"
        )
    promote(bundles, version_name)
    return version_name, serving


def live_folder(bundles: Path) -> Path:
    """Return the folder of the bundle that serves."""
    name = version_named_by(bundles, LIVE)
    pointer = bundles / LIVE
    if name is None and pointer.is_file() and pointer.read_bytes().strip():
        raise BundleError(
            f"{pointer}: wanted the name of a bundle, got what cannot be read as one; "
            "`readrank promote VERSION` writes it anew"
        )
    if name is None:
        raise BundleError(f"{bundles}: no bundle serves yet; run `readrank train` first")
    return bundles / name


def record(workspace: Workspace, folder: Path, progress: Progress = silent) -> None:
    """Tell analysts of a new bundle: a row of the store's table `bundles`. Publishing tells which one serves.

    Another job that has the store is waited for; HeldStoreError tells of the bundle where that takes too long.
    """
    waiting = "the store could not be told"
    with _all_but_the_store(folder, waiting), Store.open_when_free(workspace.store_path, progress) as store:
        tell_new_bundles(store, workspace.bundles_path)


def library_versions(names: Sequence[str] = _LIBRARIES) -> dict[str, str]:
    """Return the version of each library that is installed, by default of those that make a bundle."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def _all_but_the_store(folder: Path, waiting: str) -> Iterator[None]:
    """Tell of a finished bundle where the store alone cannot be written: hours of work may lie in it."""
    try:
        yield
    except HeldStoreError as error:
        serves = version_named_by(folder.parent, LIVE) == folder.name
        state = "and serves" if serves else f"and `readrank promote {folder.name}` lets it serve"
        raise HeldStoreError(f"the bundle {folder.name} is whole {state}; only {waiting}: {error}") from error


def _point(bundles: Path, pointer: str, version_name: str) -> None:
    with written_whole(bundles / pointer, durable=True) as unfinished:
        unfinished.write_text(version_name + "\n", encoding="utf-8")
