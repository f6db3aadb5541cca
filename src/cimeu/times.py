"""Points in time as people type them."""

import math
import re

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d{1,2}(?:[.,]\d*)?)")


def seconds_of(text: str) -> float | None:
    """Seconds, `minutes:seconds` or `hours:minutes:seconds`; None for anything else.

    >>> seconds_of("12.5"), seconds_of("1:30"), seconds_of("1:02:03,5"), seconds_of("soon")
    (12.5, 90.0, 3723.5, None)
    """
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        hours, minutes, seconds = clock.groups()
        return 3600.0 * int(hours or 0) + 60.0 * int(minutes) + float(seconds.replace(",", "."))
    try:
        number = float(text.replace(",", ".").replace("_", "?"))  # Python would read `1_0` as 10
    except ValueError:
        return None
    return number if math.isfinite(number) else None
