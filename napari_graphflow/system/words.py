"""Format durations, for the window, terminal and reports."""

MINUTE, HOUR, DAY = 60, 3600, 86_400


def duration(seconds: float, *, narrow: bool = False) -> str:
    """Format a duration as 40 s, 25 min, 2 h 05 min, 14 h or 3 days.

    Parameters
    ----------
    seconds
        Negative values count as 0.
    narrow
        Use the form 2 h 05, for narrow columns.
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
