"""Pauses before a request is sent again."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST = 0.5  # seconds; doubled from try to try


def pause(attempt: int, retry_after: str | None, now: datetime | None = None) -> float:
    """Compute the pause until the next try.

    Parameters
    ----------
    attempt : int
        Number of tries so far, less one.
    retry_after : str or None
        The header of that name (RFC 9110, section 10.2.3): seconds, or a date; anything else is ignored.
    now : datetime, optional
        The current time, for tests.

    Returns
    -------
    float
        Seconds.
    """
    backoff = FIRST * 2.0**attempt
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            return backoff
        return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return backoff
