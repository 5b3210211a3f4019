"""At which lengths may vectors also be cut? Read from the setting, shortest first."""

from encoders.errors import EncoderError


def cut_dims(text: str, dim: int | None) -> tuple[int, ...]:
    """Return the lengths that `text` lists; each has to be below `dim`, where that is known.

    >>> cut_dims("128, 64", 256)
    (64, 128)
    >>> cut_dims("", 256)
    ()
    """
    try:
        found = sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError:
        found = [0]
    if any(one < 1 or (dim is not None and one >= dim) for one in found):
        below = f" below {dim}" if dim is not None else ""
        raise EncoderError(
            f"[encoder] cut_dims: wanted lengths{below} with commas between, got {text!r}; write such as `64, 128`"
        )
    return tuple(found)
