"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can mend: one plain sentence with the cause, one remedy.

    The command line prints ``str(error)`` and exits with code 2; a window shows it as a
    notification. Neither shows a traceback.

    Parameters
    ----------
    text
        What is wrong, as one sentence, naming the file, case or setting.
    remedy
        What to do about it, as one sentence.
    """

    def __init__(self, text: str, remedy: str = "") -> None:
        self.text = text
        self.remedy = remedy
        super().__init__(f"{text} {remedy}".strip())
