"""The training run: from a config and a folder to a trained checkpoint, through any number of interruptions."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.models import weights
from diffwave_jax.training.checkpoints import RunCheckpoints
from diffwave_jax.training.feed import Feed, data_mesh, validation_batch
from diffwave_jax.training.optimizer import learning_rate, make_optimizer
from diffwave_jax.training.step import TrainState, init_state, make_train_step, make_validation, shardings
from diffwave_jax.training.stop import StopRequest
from diffwave_jax.training.tasks import Metrics, make_task


class Listener(Protocol):
    """Whoever wants to hear how a run goes."""

    def message(self, text: str) -> None:
        """One line worth reading."""
        ...

    def step(self, step: int) -> None:
        """Step number `step` is done."""
        ...

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Means since the last call."""
        ...


class Run:
    """One training run in a folder.

    Args:
      config: what `configs/*.py` return.
      workdir: the run's folder; a run that is already there continues.
      listeners: told of progress.
    """

    def __init__(self, config: ConfigDict, workdir: Path, listeners: Sequence[Listener] = ()):
        self.config = config
        self._listeners = listeners
        self._mesh = data_mesh()
        self._task = make_task(config)
        self._optimizer = make_optimizer(config.train)
        self._graph, self._shapes = weights.abstract(self._network)
        self._feed = Feed(config, self._mesh)
        self._checkpoints = RunCheckpoints(workdir, config, self._say)
        self._pending: list[Metrics] = []
        self._since = time.monotonic()
        train = config.train
        self._step = make_train_step(
            self._task,
            self._graph,
            self._optimizer,
            mesh=self._mesh,
            seed=config.seed,
            accumulate=train.accumulate,
            ema_decay=train.ema_decay,
        )
        if train.validate_every:
            self._validate = make_validation(self._task, self._graph, mesh=self._mesh)
            self._validation_batch = validation_batch(config, self._mesh)

    def train(self) -> TrainState:
        """Trains to `train.num_steps` and returns the last state; saves and returns early on SIGTERM or Ctrl-C.

        Raises:
          UserError: the loss is not finite, or the run's checkpoints are of another configuration.
        """
        train = self.config.train
        state = self._start()
        with StopRequest() as stop:
            for step in range(int(state.step) + 1, train.num_steps + 1):
                state, metrics = self._step(state, self._feed.next())
                self._pending.append(metrics)
                self._tell_step(step)
                last = step == train.num_steps
                if step % train.log_every == 0 or last:
                    self._log(step)
                if train.validate_every and step % train.validate_every == 0:
                    self._log_validation(step, state)
                asked = stop.asked()
                if step % train.checkpoint_every == 0 or last or asked:
                    self._save(state)
                if asked:
                    self._say(f"{asked}: saved step {step}; the same command continues from there")
                    break
        self._checkpoints.close()
        return state

    def _start(self) -> TrainState:
        replicated = shardings(self._mesh)[0]
        like = jax.eval_shape(lambda p: init_state(p, self._optimizer, self.config.train.ema_decay), self._shapes)
        restored = self._checkpoints.restore(like, replicated)
        if restored is None:
            params = weights.split(self._network())[1]
            state = init_state(params, self._optimizer, self.config.train.ema_decay)
            return jax.device_put(state, replicated)
        state, position = restored
        if position is not None:
            self._feed.seek(position)
        self._say(f"continuing from step {int(state.step)}")
        return state

    def _network(self) -> nnx.Module:
        return self._task.build(nnx.Rngs(self.config.seed))

    def _log(self, step: int) -> None:
        values = self._means()  # waits for the devices, so the clock is read afterwards
        elapsed = time.monotonic() - self._since
        values["learning_rate"] = float(learning_rate(self.config.train)(step - 1))
        values["steps_per_second"] = len(self._pending) / elapsed
        values["clips_per_second"] = values["steps_per_second"] * self.config.train.batch_size
        self._pending, self._since = [], time.monotonic()
        for listener in self._listeners:
            listener.scalars(step, values)

    def _log_validation(self, step: int, state: TrainState) -> None:
        params = state.ema if state.ema is not None else state.params
        metrics = _mean_metrics([self._validate(params, self._validation_batch)])
        for listener in self._listeners:
            listener.scalars(step, {f"validation_{name}": value for name, value in metrics.items()})

    def _means(self) -> dict[str, float]:
        """Means of the steps since the last log, which must all be finite."""
        values = _mean_metrics(self._pending)
        if not np.isfinite(values.get("loss", 0.0)):
            last_good = self._checkpoints.newest()
            advice = f"the last good checkpoint is {last_good}" if last_good else "there is no checkpoint yet"
            raise UserError(f"the loss is not finite any more: {advice}; lower train.learning_rate or set clip_norm")
        return values

    def _save(self, state: TrainState) -> None:
        if self._pending:
            self._means()  # never save weights that a non-finite loss has spoilt
        self._checkpoints.save(state, self._feed.position())

    def _say(self, text: str) -> None:
        for listener in self._listeners:
            listener.message(text)

    def _tell_step(self, step: int) -> None:
        for listener in self._listeners:
            listener.step(step)


def _mean_metrics(metrics: list[Metrics]) -> dict[str, float]:
    """Means of metrics given as pairs (sum, count) per step; a metric without any count is left out."""
    fetched = jax.device_get(metrics)
    totals = {name: np.sum([np.asarray(step[name], np.float64) for step in fetched], axis=0) for name in fetched[0]}
    return {name: float(total / count) for name, (total, count) in totals.items() if count}
