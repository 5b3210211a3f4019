"""Which settings did a search find, and which of them does a training use? `tuned.toml`, beside `readrank.toml`."""

import json
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from ingest.errors import SettingsError
from ingest.settings import read_section, read_toml
from ingest.whole_file import written_whole
from ingest.workspace import Workspace
from ranker.boost import BlendConfig


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search found, and how it was judged."""

    blend: str
    """Which blend was judged: `recommend`, or `given` where only that one gained."""
    study: str
    """Name of the study in `tuning.sqlite`."""
    trial: int
    """Number of the best trial in the study."""
    trials: int
    """Trials run until then."""
    until: str
    """Nothing from this moment on was known to the search; naive UTC, ISO 8601."""
    value: float
    """NDCG@10 of the settings found, on the judge window."""
    defaults: float
    """NDCG@10 of the settings without them, on the same questions."""
    low: float
    """Lower bound of the difference, paired bootstrap, 95 %."""
    high: float
    """Upper bound of the difference."""
    settings: dict[str, Any]
    """The settings of `[blend]` that were found."""


def read(workspace: Workspace) -> Tuned | None:
    """Return what `readrank tune` has left for trainings; None where it has left nothing."""
    path = workspace.tuned_path
    if not path.is_file():
        return None
    try:
        content = read_toml(path)
        blend, told = content.get("blend", {}), content.get("tuned", {})
        read_section(BlendConfig, blend, where="[blend]")
        tuned = read_section(Tuned, {**told, "settings": {}}, where="[tuned]")
        datetime.fromisoformat(tuned.until)
    except (SettingsError, ValueError, TypeError) as error:
        raise SettingsError(
            f"{path}: wanted what `readrank tune` writes, got {error}; delete the file, or run `readrank tune` again"
        ) from error
    return replace(tuned, settings=blend)


def write(workspace: Workspace, tuned: Tuned) -> None:
    """Leave settings for the next training, all at once."""
    told = {name: value for name, value in asdict(tuned).items() if name != "settings"}
    lines = [
        "# Written by `readrank tune`; `readrank train` uses it where readrank.toml leaves a setting at its default.",
        "# Delete this file to train with the defaults.",
        "[blend]",
        *(f"{name} = {json.dumps(value)}" for name, value in tuned.settings.items()),
        "",
        "[tuned]",
        *(f"{name} = {json.dumps(value)}" for name, value in told.items()),
    ]
    with written_whole(workspace.tuned_path) as unfinished:
        unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")


def free_settings(blend: BlendConfig) -> set[str]:
    """Name the settings that stand at their defaults: `readrank init` writes them all, so only others are a choice."""
    default = BlendConfig()
    return {field.name for field in fields(BlendConfig) if getattr(blend, field.name) == getattr(default, field.name)}


def with_tuned(blend: BlendConfig, tuned: Tuned | None, until: datetime | None) -> tuple[BlendConfig, Tuned | None]:
    """Put in what was found where `blend` leaves the default, and return it with what was put in.

    A training `until` a moment before the one that the search knew would use what was not yet knowable: it uses none.
    """
    if tuned is None or (until is not None and datetime.fromisoformat(tuned.until) > until):
        return blend, None
    free = free_settings(blend)
    used = {name: value for name, value in tuned.settings.items() if name in free}
    return replace(blend, **used), replace(tuned, settings=used)
