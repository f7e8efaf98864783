"""A progress bar for those who ask for one."""

import contextlib
from collections.abc import Iterator

from diffwave_jax.doing import telling
from diffwave_jax.generation.batches import OnStep


@contextlib.contextmanager
def clip_bar(n: int, on_step: OnStep | None) -> Iterator[OnStep]:
    """A bar of `n` clips, in a notebook or a terminal; gives a callback that moves it and calls `on_step` too."""
    from diffwave_jax.progress import CLIPS, Bar  # brings tqdm

    with Bar(CLIPS, unit="clip") as bar, telling(bar.doing):

        def show(done: int, total: int) -> None:
            bar.show(n * done / total, n)
            if on_step is not None:
                on_step(done, total)

        yield show
