"""The exception for mistakes that a user can correct."""


class UserError(Exception):
    """A problem that the user can correct: one plain sentence with the cause, one remedy.

    The command line prints ``str(error)`` and exits with code 2; a window shows it as a
    notification. Neither shows a traceback.

    Parameters
    ----------
    text
        The problem in one sentence, naming the file, case or setting.
    remedy
        How to correct it, in one sentence.
    code
        Its kind, for programs that can ask for what is missing: a key of
        `napari_graphflow.system.failures.EXIT_CODES`.
    """

    def __init__(self, text: str, remedy: str = "", code: str = "user") -> None:
        self.text = text
        self.remedy = remedy
        self.code = code
        super().__init__(f"{text} {remedy}".strip())

    def of_case(self, case: str) -> "UserError":
        """Return the same problem with the name of the case, unless that is empty."""
        return UserError(f"{case}: {self.text}", self.remedy, self.code) if case else self
