"""What holds for an event by whichever door it comes, in a file or over HTTP?"""

from typing import Final

DEFAULT_KIND: Final = "click"
"""Kind of an event that names none, or a blank one."""
DEFAULT_WEIGHT: Final = 1.0
"""What an event counts that has no weight and a kind that no setting names."""
MOST_WEIGHT: Final = 1e6
"""What an event may weigh, or a dislike with a minus before it: sums of much more overflow single precision."""
CONTROL_CHARACTER: Final = r"[\x00-\x1f\x7f]"
"""Pattern of what neither ids nor kinds may hold."""
