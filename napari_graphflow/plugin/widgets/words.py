"""Durations and numbers in words."""


def short_time(seconds: float) -> str:
    """Write a time as 0:14, 3:20, 2 h 05, 14 h or 3 days, for a narrow column."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours >= 48:
        return f"{hours // 24} days"
    if hours >= 10:
        return f"{hours} h"
    return f"{hours} h {minutes:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def duration(seconds: float) -> str:
    """Write a time as 0:14, 3:20 or 2 h 05 min."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d}"


def count_text(number: int) -> str:
    """Write a number of parameters as 38 M, 0.35 M or 12 k."""
    if number >= 10_000_000:
        return f"{number / 1e6:.0f} M"
    if number >= 1_000_000:
        return f"{number / 1e6:.1f} M"
    if number >= 100_000:
        return f"{number / 1e6:.2f} M"
    return f"{number / 1e3:.0f} k" if number >= 1000 else str(number)
