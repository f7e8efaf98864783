"""The one exception for mistakes a user can mend."""


class UserError(Exception):
    """A mistake in what the user gave: one line that says what was wrong, what was found and what to do.

    Args:
      message: the line. What other people wrote (file names, records, a server's words) may stand in it as it is: the
        error shows it as `printable` does.
    """

    def __init__(self, message: object):
        super().__init__(printable(message))


def printable(text: object) -> str:
    """Text as one line that does nothing to a terminal: line breaks, control characters and the like are escaped."""
    return "".join(character if character.isprintable() else _escaped(character) for character in str(text))


def reason(error: BaseException) -> str:
    """What an error says, in one line that is not long."""
    return printable(str(error).splitlines()[0][:200]) if str(error).strip() else type(error).__name__


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
