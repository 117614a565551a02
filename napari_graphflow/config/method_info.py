"""What a distillation method says about itself; imported by methods of other packages."""

from typing import Any, NamedTuple


class MethodInfo(NamedTuple):
    """A distillation method.

    Attributes
    ----------
    title, text, tip
        Texts for lists.
    path, options
        Import path of its class, such as ``package.module:Class``, and its options: a subclass of
        `Frozen` with the field ``name``, a literal of the method's name.
    decoder
        Whether it compares feature maps of a decoder, which some networks lack.
    answers_only
        Whether class probabilities of the teacher are all it needs.
    taps
        Taps that it always compares.
    """

    title: str
    text: str
    tip: str
    path: str
    options: type[Any]
    decoder: bool = False
    answers_only: bool = False
    taps: tuple[str, ...] = ()
