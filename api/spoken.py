"""What does a person read of the answers that the demo asked for?"""

from collections.abc import Iterator
from typing import Any


def answer_lines(found: list[dict[str, Any]]) -> Iterator[str]:
    """Put what `try_out.answers` returns into lines for a person."""
    known, cold = found
    yield f"\n{known['user_id']} took last: " + "; ".join(known["took"])
    for title, answer in ((known["user_id"], known), ("somebody brand-new", cold)):
        yield f"\nrecommended to {title}:"
        for item in answer["items"]:
            yield f"  {item['rank']}. {item['title']}"
            yield f"     {_spoken_reasons(item['reasons'])}{_spoken_place(item['placed_by'])}"
    yield "\nservice stopped"


def _spoken_reasons(reasons: list[dict[str, Any]]) -> str:
    spoken = [
        f"{reason['family']} {reason['weight']:+.2f}"
        + (f" (because of {reason['because_title']})" if "because_title" in reason else "")
        for reason in reasons
    ]
    return "why: " + ", ".join(spoken)


def _spoken_place(placed_by: str) -> str:
    return f"; placed by: {placed_by}" if placed_by != "score" else ""
