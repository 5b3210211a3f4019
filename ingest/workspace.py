"""Where does everything of one deployment lie? One folder, its settings and its paths."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ingest.bundle_folders import LIVE, PREVIOUS
from ingest.errors import SettingsError, WorkspaceError
from ingest.settings import commented_toml, read_section, read_toml
from ingest.whole_file import written_whole

__all__ = ["Workspace", "commented_toml"]

T = TypeVar("T")

SETTINGS_NAME = "readrank.toml"


@dataclass(frozen=True)
class Workspace:
    """One folder per deployment; only its paths and settings, nothing is held open."""

    root: Path

    @classmethod
    def create(cls, path: Path | str, settings_text: str) -> "Workspace":
        """Make the folder with an empty store and its settings; SettingsError when settings already lie there.

        WorkspaceError where the folder cannot be made.
        The settings come last, so that what failed half-way can simply be made again.
        """
        from ingest.store import Store

        workspace = cls(Path(path))
        if workspace.settings_path.exists():
            raise SettingsError(
                f"{workspace.settings_path}: already exists and was left as it is; edit it, or init another folder"
            )
        try:
            for folder in (workspace.root, workspace.bundles_path, workspace.reports_path):
                folder.mkdir(parents=True, exist_ok=True)
            Store.open(workspace.store_path).close()
            with written_whole(workspace.settings_path) as unfinished:
                unfinished.write_text(settings_text, encoding="utf-8")
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise WorkspaceError(
                f"{path}: cannot become a workspace: {error.strerror} ({error.filename}); init another folder"
            ) from error
        return workspace

    @classmethod
    def open(cls, path: Path | str = ".") -> "Workspace":
        """Open an existing workspace; SettingsError when `readrank.toml` is missing or is not TOML.

        WorkspaceError where a file lies in a folder's place or the other way round: known before hours of work.
        """
        workspace = cls(Path(path))
        if not workspace.settings_path.is_file():
            raise SettingsError(
                f"{workspace.settings_path}: not found; make a workspace with `readrank init {path}`, "
                "or name one with --workspace"
            )
        read_toml(workspace.settings_path)
        workspace._check_places()
        return workspace

    @property
    def settings_path(self) -> Path:
        """All settings, commented."""
        return self.root / SETTINGS_NAME

    @property
    def store_path(self) -> Path:
        """The store; one writer at a time, opened by jobs only."""
        return self.root / "readrank.duckdb"

    @property
    def analytics_path(self) -> Path:
        """The read-only copy for analysts."""
        return self.root / "analytics.duckdb"

    @property
    def parquet_path(self) -> Path:
        """The same as Parquet, for engines that are not DuckDB; `latest` in it names the version to read."""
        return self.root / "analytics"

    @property
    def outbox_path(self) -> Path:
        """What was accepted over HTTP and is not yet in the store."""
        return self.root / "online.sqlite"

    @property
    def bundles_path(self) -> Path:
        """Complete models, one folder each; `bundles/live` names the one that serves."""
        return self.root / "bundles"

    @property
    def training_path(self) -> Path:
        """What encoders have learned so far; a training that was killed goes on from here."""
        return self.root / "training"

    @property
    def reports_path(self) -> Path:
        """Evaluation reports."""
        return self.root / "reports"

    @property
    def tuned_path(self) -> Path:
        """Settings that a search found; trainings use them where `readrank.toml` leaves the default."""
        return self.root / "tuned.toml"

    @property
    def tuning_path(self) -> Path:
        """Examples that a search learns from, made once."""
        return self.root / "tuning"

    @property
    def studies_path(self) -> Path:
        """Trials of searches; one broken off goes on from here."""
        return self.root / "tuning.sqlite"

    def section(self, name: str, cls: type[T]) -> T:
        """Read `[name]` of the settings as the config `cls`; an absent section gives the defaults."""
        values = read_toml(self.settings_path).get(name, {})
        return read_section(cls, values, where=f"{self.settings_path}: [{name}]")

    def check_sections(self, known: set[str]) -> None:
        """Refuse sections that nothing reads, so that a mistyped heading is not silently ignored."""
        unknown = sorted(set(read_toml(self.settings_path)) - known)
        if unknown:
            raise SettingsError(
                f"{self.settings_path}: nothing reads [{unknown[0]}]; the sections are {', '.join(sorted(known))}"
            )

    def check_elsewhere(self, place: Path) -> None:
        """Raise WorkspaceError where a result would lie among the workspace's own files; a folder beside them may."""
        asked, own = place.resolve(), {folder.resolve() for folder in self._folders()}
        if asked == self.root.resolve() or not own.isdisjoint((asked, *asked.parents)):
            raise WorkspaceError(f"{place}: wanted a folder of its own, got the workspace's; name another")

    def _folders(self) -> tuple[Path, ...]:
        return self.bundles_path, self.reports_path, self.training_path, self.tuning_path, self.parquet_path

    def _check_places(self) -> None:
        for folder in self._folders():
            if os.path.lexists(folder) and not folder.is_dir():
                raise WorkspaceError(f"{folder}: wanted a folder, got something else; move it away")
        for pointer in (self.bundles_path / LIVE, self.bundles_path / PREVIOUS):
            if pointer.is_dir():
                raise WorkspaceError(f"{pointer}: wanted a file with a bundle's name, got a folder; move it away")
