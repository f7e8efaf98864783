"""The one exception for mistakes a user can mend."""


class UserError(Exception):
    """A mistake in what the user gave: one line that says what was wrong, what was found and what to do."""
