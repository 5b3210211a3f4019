"""Under which name is a user written down, where real ids may not touch the disk? HMAC-SHA256 of the id.

The key decides who is who, so it must be one and the same for good: `pseudonym.check` in the workspace holds its
fingerprint, says that the workspace has pseudonyms at all, and is refused with any other key.
"""

import hashlib
import hmac
import logging
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import SettingsError
from ingest.held import scratch
from ingest.whole_file import WRITING
from ingest.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)

KEY_FILE = "pseudonym.key"
CHECK_FILE = "pseudonym.check"
KEY_VARIABLE = "READRANK_PSEUDONYM_KEY"
SHORTEST_KEY = 32


@dataclass(frozen=True, kw_only=True)
class PrivacyConfig:
    """How users are named in files; decide it before the first load."""

    pseudonyms: bool = False
    """Whether user ids are replaced by keyed hashes before they touch the disk. The key is made at first use in
    pseudonym.key, or taken from the environment variable READRANK_PSEUDONYM_KEY; without it nobody is recognised."""


class Pseudonyms:
    """The pseudonyms under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of_workspace(cls, workspace: Workspace) -> "Pseudonyms | None":
        """Return the pseudonyms of a workspace, None where `[privacy]` does not ask for them.

        The first call in a workspace without any user makes the key. SettingsError: users are there already under
        their own ids, pseudonyms were switched off, or the key is missing, too short or another one than before.
        """
        check = workspace.root / CHECK_FILE
        if not workspace.section("privacy", PrivacyConfig).pseudonyms:
            if check.exists():
                raise SettingsError(
                    f"{workspace.settings_path}: [privacy] pseudonyms: wanted true, because users of this workspace "
                    "are pseudonyms, got false; set it to true, or load the logs into a new workspace"
                )
            return None
        if not check.exists():
            return cls._begin(workspace, check)
        key = _given_key(workspace)
        if key is None:
            raise SettingsError(
                f"{workspace.root / KEY_FILE}: not found, but users of this workspace are pseudonyms; restore the "
                f"file from a backup or set {KEY_VARIABLE}"
            )
        if check.read_text(encoding="utf-8").strip() != _fingerprint(key):
            raise SettingsError(
                f"{check}: wanted the key that this workspace was begun with, got another one; restore {KEY_FILE} or "
                f"correct {KEY_VARIABLE}: under another key nobody would be recognised"
            )
        return cls(key)

    @classmethod
    def _begin(cls, workspace: Workspace, check: Path) -> "Pseudonyms":
        place = _users_already(workspace)
        if place:
            raise SettingsError(
                f"{workspace.settings_path}: [privacy] pseudonyms: wanted a workspace without users, got {place} with "
                "users under their own ids; load the logs into a new workspace, or set it to false"
            )
        path = workspace.root / KEY_FILE
        if _given_key(workspace) is None:
            _write_once(path, secrets.token_hex(32) + "\n")
            log.warning("pseudonym key made path=%s; back it up apart from the data", path)
        key = _given_key(workspace)
        assert key is not None
        _write_once(check, _fingerprint(key) + "\n")
        # Two processes may begin at once: whoever wrote first decides.
        if check.read_text(encoding="utf-8").strip() != _fingerprint(key):
            return cls.of_workspace(workspace) or cls(key)
        return cls(key)

    def of(self, user_id: str) -> str:
        """Return the pseudonym of a user: 64 hexadecimal digits.

        >>> Pseudonyms(b"Jefe").of("what do ya want for nothing?")  # RFC 4231, test case 2
        '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'
        """
        return hmac.digest(self._key, user_id.encode("utf-8", "surrogatepass"), "sha256").hex()

    def column(self, user_ids: "pl.Series") -> "pl.Series":
        """Return the pseudonyms of a String column, each distinct id hashed once.

        Null stays null and blanks stay blank, so that checks still see that an id is missing.
        """
        import polars as pl

        distinct = user_ids.drop_nulls().unique()
        distinct = distinct.filter(distinct.str.strip_chars() != "")
        pseudonyms = pl.Series([self.of(user_id) for user_id in distinct], dtype=pl.String)
        return user_ids.replace(distinct, pseudonyms)


def _given_key(workspace: Workspace) -> bytes | None:
    """Read the key from the environment, else from its file; None when there is neither."""
    text, place = os.environ.get(KEY_VARIABLE), KEY_VARIABLE
    if text is None:
        path = workspace.root / KEY_FILE
        place = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: the key of the pseudonyms cannot be read: {error}; restore it") from error
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            log.warning("pseudonym key can be read by others path=%s; chmod 600 it", path)
    key = text.strip()
    if len(key) < SHORTEST_KEY:
        raise SettingsError(
            f"{place}: wanted a key of at least {SHORTEST_KEY} characters, got {len(key)}; "
            "make one with `openssl rand -hex 32`"
        )
    return key.encode()


def _fingerprint(key: bytes) -> str:
    return hmac.digest(key, b"fingerprint of the key of a workspace", hashlib.sha256).hex()


def _users_already(workspace: Workspace) -> Path | None:
    """Return a place that names users, None when there is none yet."""
    from ingest.outbox import Outbox
    from ingest.store import Store

    if workspace.bundles_path.is_dir() and any(path.is_dir() for path in workspace.bundles_path.iterdir()):
        return workspace.bundles_path
    if workspace.outbox_path.exists():
        with Outbox.open(workspace.outbox_path) as outbox:
            if outbox.events_after(0, limit=1)[0] or outbox.answers(1)[2]:
                return workspace.outbox_path
    if workspace.store_path.exists():
        with Store.open(workspace.store_path, read_only=True) as store:
            for table in ("interactions", "impressions", "requests"):
                if store.connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                    return workspace.store_path
            # Of an item nobody is the user; of any other row somebody may be, wherever it says so.
            kept = "SELECT 1 FROM rejected_rows WHERE table_name <> 'items' AND raw IS NOT NULL LIMIT 1"
            if store.connection.execute(kept).fetchone():
                return workspace.store_path
    return None


def _write_once(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all; one that is there already stays."""
    with scratch(path.parent, WRITING) as folder:
        unfinished = folder / path.name
        descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(unfinished, path)
