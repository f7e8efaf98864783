"""A progress bar for those who ask for one."""

import contextlib
from collections.abc import Iterator

from tqdm.auto import tqdm

from diffwave_jax.generation.batches import OnStep


@contextlib.contextmanager
def clip_bar(n: int, on_step: OnStep | None) -> Iterator[OnStep]:
    """A bar of `n` clips, in a notebook or a terminal; gives a callback that moves it and calls `on_step` too."""
    shape = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} clips, {rate_noinv_fmt}, {remaining} left"
    with tqdm(total=n, unit="clip", bar_format=shape) as bar:

        def show(done: int, total: int) -> None:
            bar.update(n * done / total - bar.n)
            if on_step is not None:
                on_step(done, total)

        yield show
