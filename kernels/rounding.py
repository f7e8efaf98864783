"""Whole numbers rounded up."""


def divide_up(size: int, part: int) -> int:
    """The number of parts of size `part` that cover `size`: the quotient, rounded up."""
    return -(-size // part)


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `size`."""
    return divide_up(size, multiple) * multiple


def next_power_of_2(size: int) -> int:
    """The smallest power of two that is at least `size`, which is at least 1."""
    return 1 << (size - 1).bit_length()
