"""The training run: from a config and a folder to a trained checkpoint, through any number of interruptions."""

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from diffwave_jax.config_check import check_config
from diffwave_jax.doing import doing
from diffwave_jax.errors import UserError
from diffwave_jax.files import check_plain
from diffwave_jax.models import weights
from diffwave_jax.training import plateau
from diffwave_jax.training.feed import data_mesh, make_feed, named_classes, validation_batches
from diffwave_jax.training.listener import Listener, Listeners
from diffwave_jax.training.lock import check_unused, only_run
from diffwave_jax.training.meter import Meter, finite, means
from diffwave_jax.training.optimizer import learning_rate, make_optimizer
from diffwave_jax.training.preview import Preview, make_preview
from diffwave_jax.training.run_checkpoints import RunCheckpoints
from diffwave_jax.training.step import TrainState, init_state, make_train_step, make_validation, shardings
from diffwave_jax.training.stop import StopRequest
from diffwave_jax.training.tasks import Constants, Metrics, make_task
from diffwave_jax.training.warm_start import begun


class Run:
    """One training run in a folder.

    Args:
      config: what `configs/*.py` return.
      workdir: the run's folder; a run that is already there continues.
      listeners: told of progress; what fails in one of them does not end the run.

    Raises:
      UserError: something in the config, the data it names, or the folder, where another run may be training.
    """

    def __init__(self, config: ConfigDict, workdir: Path, listeners: Iterable[Listener] = ()):
        check_config(config)
        check_plain(workdir)
        check_unused(workdir)
        self.config = config
        train = config.train
        self._listeners, self._workdir = Listeners(listeners), workdir
        self._mesh = data_mesh()
        self._task = make_task(config)
        self._optimizer = make_optimizer(train)
        self._graph, self._shapes = weights.abstract(self._task.build)
        self._preview = make_preview(config) if train.sample_every else None
        self._feed = make_feed(
            config,
            self._mesh,
            progress=self._listeners.preparing,
            on_download=self._listeners.downloading,
            report=self._listeners.message,
        )
        self._validation_batches = validation_batches(config, self._mesh) if train.validate_every else []
        named = named_classes(config, self._feed.classes)
        self._checkpoints = RunCheckpoints(workdir, named, self._listeners.message)
        self._meter = Meter(train.batch_size)
        self._constants: Constants = {}  # on the devices once the run starts
        self._in_flight: tuple[int, Metrics] | None = None
        self._others_asked = False
        self._validate = make_validation(self._task, self._graph, mesh=self._mesh)
        self._after_validation = jax.jit(
            functools.partial(plateau.validated, patience=train.patience, drop=train.drop_factor),
            out_shardings=shardings(self._mesh)[0],
        )
        self._step = make_train_step(
            self._task,
            self._graph,
            self._optimizer,
            mesh=self._mesh,
            seed=config.seed,
            accumulate=train.accumulate,
            ema_decay=train.ema_decay,
        )

    def train(self) -> TrainState:
        """Trains to `train.num_steps` and returns the last state; saves and returns early on SIGTERM or Ctrl-C.

        Raises:
          UserError: the loss is not finite, or the run's checkpoints are of another configuration.
        """
        with contextlib.ExitStack() as ending:
            ending.callback(self._listeners.end)
            ending.enter_context(only_run(self._workdir))
            stop = ending.enter_context(StopRequest())  # until the last checkpoint is on disk
            ending.enter_context(self._checkpoints)
            return self._train(stop)

    def _train(self, stop: StopRequest) -> TrainState:
        state = self._start()
        doing("compiling the training step")
        for step in range(int(state.step) + 1, self.config.train.num_steps + 1):
            state, metrics = self._step(state, self._feed.next(stop=bool(stop.name)), self._constants)
            self._settle(before=(step, metrics))
            asked = self._asked(stop)
            state = self._report(step, state, final=bool(asked) or step == self.config.train.num_steps)
            if asked:
                self._listeners.message(f"{asked}: saved step {step}; the same command continues from there")
                break
        return state

    def _start(self) -> TrainState:
        train, replicated = self.config.train, shardings(self._mesh)[0]
        like = jax.eval_shape(lambda p: init_state(p, self._optimizer, train.ema_decay), self._shapes)
        state = self._checkpoints.restore(like, replicated, self._feed.seek)
        self._checkpoints.open()
        self._constants = jax.device_put(self._task.constants(), replicated)
        if state is None:
            state = init_state(self._first_weights(), self._optimizer, train.ema_decay)
            state = jax.device_put(jax.device_get(state), replicated)
        else:
            done = int(state.step) >= train.num_steps
            self._listeners.message(
                f"step {state.step} is the last: nothing to do" if done else f"continuing from step {state.step}"
            )
        self._listeners.step(int(state.step))
        return state

    def _first_weights(self) -> weights.Weights:
        fresh = weights.split(self._task.build(nnx.Rngs(self.config.seed)))[1]
        if not self.config.train.init_from:
            return fresh
        first, message = begun(fresh, self.config.train.init_from)
        self._listeners.message(message)
        return first

    def _settle(self, before: tuple[int, Metrics] | None = None) -> None:
        """Waits for the step in flight, which must have gone well; the one it came `before` is then in flight.

        One step in flight keeps the devices busy; more would only delay progress, bad news and stopping.
        """
        settled, self._in_flight = self._in_flight, before
        if settled is None:
            return
        step, metrics = settled[0], jax.device_get(settled[1])
        if not finite(metrics):
            raise UserError(self._bad_news(step))
        self._others_asked = metrics.pop("stop")[0] > 0
        self._meter.add(metrics)
        self._listeners.step(step)

    def _bad_news(self, step: int) -> str:
        last_good = self._checkpoints.newest()
        advice = f"the last good checkpoint is {last_good}" if last_good else "there is no checkpoint yet"
        return f"the loss is not finite at step {step}: {advice}; lower train.learning_rate or set train.clip_norm"

    def _asked(self, stop: StopRequest) -> str:
        """What asked all processes to stop at this same step, else ""."""
        if jax.process_count() == 1:
            return stop.name
        return (stop.name or "a signal to another process") if self._others_asked else ""

    def _report(self, step: int, state: TrainState, *, final: bool) -> TrainState:
        """Logs, validates, samples and saves what is due after this step; the state as validation leaves it."""
        train = self.config.train

        def due(every):
            return every and step % every == 0

        if final or due(train.log_every):
            self._log(step, state)
        if due(train.validate_every):
            state = self._log_validation(step, state)
        if self._preview is not None and due(train.sample_every):
            self._log_clips(self._preview, step, state)
        if final or due(train.checkpoint_every):
            self._settle()  # never save weights that a bad step has spoilt
            self._checkpoints.save(state, self._feed.position())
        return state

    def _log(self, step: int, state: TrainState) -> None:
        self._settle()
        values = self._meter.read()
        scheduled = float(np.asarray(learning_rate(self.config.train)(step - 1)))
        values["learning_rate"] = scheduled * plateau.factor(state.optimizer)
        self._listeners.scalars(step, values)

    def _log_validation(self, step: int, state: TrainState) -> TrainState:
        self._settle()
        with self._meter.paused():
            values = means(
                [self._validate(_averaged(state), batch, self._constants) for batch in self._validation_batches]
            )
        self._listeners.scalars(step, {f"validation_{name}": value for name, value in values.items()})
        if self.config.train.schedule != "plateau":
            return state
        return state._replace(optimizer=self._after_validation(state.optimizer, np.float32(values["loss"])))

    def _log_clips(self, preview: Preview, step: int, state: TrainState) -> None:
        self._settle()
        with self._meter.paused():
            clips = preview.clips(_averaged(state))
        if np.all(np.isfinite(clips)):
            if scores := preview.scores(clips):
                self._listeners.scalars(step, scores)
            self._listeners.clips(step, clips, self.config.data.sample_rate)
        else:
            self._listeners.message(f"the clips of step {step} are not finite: they are left out of the log")


def _averaged(state: TrainState) -> weights.Weights:
    return state.params if state.ema is None else state.ema
