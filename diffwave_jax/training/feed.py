"""From the data set to global arrays on the mesh."""

from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffwave_jax.data import Dataset, make_loader, open_dataset
from diffwave_jax.data.crops import Crops
from diffwave_jax.download import OnProgress
from diffwave_jax.errors import UserError
from diffwave_jax.training.step import shardings
from diffwave_jax.training.tasks import Batch, make_task

VALIDATION_CLIPS = 64  # the same ones every time


def data_mesh() -> Mesh:
    """All devices of all processes along one axis, "data"."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


class Feed:
    """Endless training batches, sharded over the mesh, with a position to save.

    Args:
      config: the run's config.
      mesh: from `data_mesh`.
      progress: called with (clips done, clips in all) while the data set is prepared.
      on_download: called with (bytes done, bytes in all) while it is downloaded.
      report: called with a line where the data has changed since a run was saved.

    Raises:
      UserError: the batch does not divide among the devices, or the data is missing or has other classes.
    """

    def __init__(
        self,
        config: ConfigDict,
        mesh: Mesh,
        progress: Callable[[int, int], None] | None = None,
        on_download: OnProgress | None = None,
        report: Callable[[str], None] = lambda line: None,
    ):
        self._mesh = mesh
        self._prepare = make_task(config).prepare
        self._report = report
        self._batch_size = config.train.batch_size
        _check_batch_size(config, mesh)
        self.dataset = open_dataset(config.data, "train", progress=progress, on_download=on_download)
        _check_classes(config.model.get("n_classes", 0), self.dataset)
        self._batches = make_loader(
            self.dataset,
            batch_size=self._batch_size,
            seed=config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            shift=config.data.shift,
            gain=config.data.gain,
            crops=Crops.from_config(config, self.dataset),
        )

    def next(self, stop: bool = False) -> Batch:
        """The next global batch, with word of whether this process was asked to stop."""
        return global_batch(self._prepare(next(self._batches)), self._mesh, stop=stop)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the data's classes, in their order; none where the clips have none."""
        return self.dataset.classes

    def position(self) -> dict:
        """Where the next batch starts, the same in every process."""
        return self._batches.get_state()

    def seek(self, position: dict) -> None:
        """Goes to what `position` returned, also of a run with another batch size.

        Raises:
          ValueError: it is no position.
        """
        self._batches.set_state(position)
        if position.get("data", "") not in ("", self.dataset.fingerprint):
            self._report("the data is not what this run was trained on so far: it goes on with what it finds now")


class DrawnFeed:
    """Endless batches of a task that draws all it learns from, see `Task.needs_data`.

    Args:
      config: the run's config.
      mesh: from `data_mesh`.

    Raises:
      UserError: the batch does not divide among the devices.
    """

    classes = ()

    def __init__(self, config: ConfigDict, mesh: Mesh):
        _check_batch_size(config, mesh)
        self._mesh, self._batch_size = mesh, config.train.batch_size

    def next(self, stop: bool = False) -> Batch:
        """The next global batch, with word of whether this process was asked to stop."""
        return drawn_batch(self._batch_size, self._mesh, stop=stop)

    def position(self) -> dict:
        """Nothing: the step and the seed say all."""
        return {}

    def seek(self, position: dict) -> None:
        """Nothing to be done."""


def make_feed(config: ConfigDict, mesh: Mesh, **told: Callable) -> Feed | DrawnFeed:
    """What feeds the config's task; arguments and errors as `Feed` has them."""
    return Feed(config, mesh, **told) if make_task(config).needs_data else DrawnFeed(config, mesh)


def drawn_batch(size: int, mesh: Mesh, *, start: int = 0, stop: bool = False) -> Batch:
    """The global batch of a task that needs no data; arguments as `global_batch`."""
    return global_batch({"label": np.zeros(size // jax.process_count(), np.int32)}, mesh, start=start, stop=stop)


def validation_batches(config: ConfigDict, mesh: Mesh) -> list[Batch]:
    """The fixed clips that validation losses are measured on, of the validation split where the task needs data.

    They are its first 64 or as many more as fill whole training batches, from the start again where it has fewer.
    """
    if not make_task(config).needs_data:
        size = config.train.batch_size
        return [drawn_batch(size, mesh, start=start) for start in range(0, VALIDATION_CLIPS, size)]
    dataset = open_dataset(config.data, "validation")
    crops = Crops.from_config(config, dataset)
    size, prepare = config.train.batch_size, make_task(config).prepare
    share, process = size // jax.process_count(), jax.process_index()
    batches = []
    for start in range(0, VALIDATION_CLIPS, size):
        places = start + share * process + np.arange(share)
        indices = places % len(dataset)
        clips = dataset.read(indices) if crops is None else crops.read(indices, [(0, index) for index in indices])
        batches.append(global_batch(prepare(clips), mesh, start=start))
    return batches


def named_classes(config: ConfigDict, classes: tuple[str, ...]) -> ConfigDict:
    """The config with the names of the data's classes, in their order, so that a model can be asked for them by name.

    Args:
      config: the run's config; it stays as it is.
      classes: the names; none where the clips have none.
    """
    if not config.model.get("n_classes") or not classes:
        return config
    named = config.copy_and_resolve_references()
    named.data.classes = classes
    return named


def global_batch(local: dict[str, np.ndarray], mesh: Mesh, *, start: int = 0, stop: bool = False) -> Batch:
    """Global arrays of this process's clips and everyone else's; see `Task` for what a batch holds.

    Args:
      local: this process's clips, as `Task.prepare` gives them.
      mesh: from `data_mesh`.
      start: the place of the batch's first clip.
      stop: whether this process was asked to stop.
    """
    share = len(local["label"])
    first = start + share * jax.process_index()
    places = np.arange(first, first + share, dtype=np.int32)
    local = {**local, "index": places, "stop": np.full(share, stop)}
    sharded = shardings(mesh)[1]
    return {name: jax.make_array_from_process_local_data(sharded, values) for name, values in local.items()}


def _check_classes(n_classes: int, dataset: Dataset) -> None:
    """A network without labels takes any data; one with labels must have those of the data, neither more nor fewer."""
    if n_classes and n_classes != dataset.num_classes:
        found = f"{dataset.num_classes} ({', '.join(dataset.classes)})" if dataset.classes else "none"
        raise UserError(f"model.n_classes is {n_classes}, the data's classes are {found}: make them as many")


def _check_batch_size(config: ConfigDict, mesh: Mesh) -> None:
    if config.train.accumulate < 1 or config.train.batch_size < 1:
        raise UserError(
            f"train.batch_size is {config.train.batch_size} and train.accumulate {config.train.accumulate}; "
            "both must be at least 1"
        )
    pieces = mesh.size * config.train.accumulate
    if config.train.batch_size % pieces:
        raise UserError(
            f"train.batch_size is {config.train.batch_size}; it must be a multiple of {pieces} "
            f"({mesh.size} devices x train.accumulate {config.train.accumulate})"
        )
