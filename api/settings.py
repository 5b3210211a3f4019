"""What does the service read from its environment? All that we read there, but for pseudonyms' key."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from ingest.errors import SettingsError

PREFIX = "READRANK_"


class ServiceSettings(BaseSettings):
    """How a service process runs; each field is an environment variable with the prefix `READRANK_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True)

    workspace: Path = Path(".")
    """Folder of the deployment."""
    budget_ms: int = Field(default=500, ge=1)
    """Time for an answer, waiting included. The full model has four fifths of it; then popular items answer, marked
    degraded."""
    threads: int = Field(default=1, ge=1)
    """Answers computed at once in one process. The work is bound by the CPU: add workers before threads."""
    reload_seconds: float = Field(default=1.0, ge=0)
    """How often a process looks whether `bundles/live` names another bundle."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1024)
    """Longest request body; a longer one gets 413."""
    log_queue: int = Field(default=2_000, ge=1)
    """Answers that may wait to be written to the decision log; beyond it they are counted and dropped."""
    playground: bool = True
    """Whether `/` serves the playground page; it shows some user ids, so switch it off in public."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Level of the log lines of readrank and uvicorn; other libraries log warnings and errors at most."""


def from_environment() -> ServiceSettings:
    """Read the settings; SettingsError names the variable that does not fit."""
    try:
        return ServiceSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{first['loc'][0]}".upper()
        raise SettingsError(
            f"environment variable {name}: {first['msg']}, got {first['input']!r}; correct it"
        ) from error


def hand_to_workers(workspace: Path) -> None:
    """Put into the environment what worker processes need before they import anything.

    One thread per numeric library: two workers with a pool of two threads each would fight for two cores, and the
    matrices of one request are small.
    """
    os.environ[f"{PREFIX}WORKSPACE"] = str(workspace.resolve())
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
