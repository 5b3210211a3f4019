"""Does the page tell what the service reads and says?"""

import re
from pathlib import Path

from api.settings import PREFIX, ServiceSettings
from ingest.pseudonyms import KEY_VARIABLE

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_page_lists_every_variable_with_its_default():
    told = dict(re.findall(r"^\| `(READRANK_\w+)` \| (\S+) \|", PAGE, re.MULTILINE))
    defaults = {f"{PREFIX}{name}".upper(): field.default for name, field in ServiceSettings.model_fields.items()}
    assert told == {KEY_VARIABLE: "none", **{name: _shown(value) for name, value in defaults.items()}}


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
