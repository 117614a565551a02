"""Durations in words, the same in windows, terminals and reports."""

MINUTE, HOUR, DAY = 60, 3600, 86_400


def duration(seconds: float, *, narrow: bool = False) -> str:
    """Write a time as 40 s, 25 min, 2 h 05 min, 14 h or 3 days.

    Parameters
    ----------
    seconds
        Anything below 0 counts as 0.
    narrow
        Write 2 h 05, for a narrow column.
    """
    whole = max(0, round(seconds))
    if whole < 1.5 * MINUTE:
        return f"{whole} s"
    minutes = round(whole / MINUTE)
    if minutes < 90:
        return f"{minutes} min"
    if whole < 10 * HOUR:
        return f"{minutes // 60} h {minutes % 60:02d}{'' if narrow else ' min'}"
    return f"{round(whole / HOUR)} h" if whole < 2 * DAY else f"{round(whole / DAY)} days"
