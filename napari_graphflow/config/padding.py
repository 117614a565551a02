"""The size to which a network's input is padded; without any import, since exports copy it."""

from collections.abc import Sequence


def padded_size(size: Sequence[int], multiple: int | Sequence[int]) -> tuple[int, ...]:
    """Return the size to which a network pads an image of `size`.

    The next multiples, with at least two cells in the deepest map.
    """
    multiples = [multiple] * len(size) if isinstance(multiple, int) else list(multiple)
    target = [-(-n // m) * m for n, m in zip(size, multiples, strict=True)]
    if target == multiples and max(multiples) > 1:
        target[-1] *= 2
    return tuple(target)
