"""Labels of a conditional network: the class and, where speakers are told apart, the speaker, in one number.

A label is `class + n_classes * speaker`; `count(n_classes, n_speakers)`, one more than the last, means "none".
"""


def count(n_classes: int, n_speakers: int = 0) -> int:
    """Number of labels; 0 for an unconditional network."""
    return n_classes * max(1, n_speakers)


def join(word, speaker, n_classes: int):
    """The label of a class and a speaker.

    Args:
      word: the class, 0 to n_classes - 1; a number or an array.
      speaker: who says it, from 0; a number or an array. 0 where speakers are not told apart.
      n_classes: how many classes there are.
    """
    return word + n_classes * speaker


def check(n_classes: int, n_speakers: int) -> None:
    """ValueError for numbers of classes and speakers that no network can have."""
    if min(n_classes, n_speakers) < 0 or (n_speakers and not n_classes):
        raise ValueError(
            f"n_classes and n_speakers must be at least 0, and speakers need classes; got {n_classes} and {n_speakers}"
        )
