"""Joining the other processes of a run."""

import contextlib
import dataclasses
import time
import traceback
from collections.abc import Iterator

import jax
from jax._src.clusters import ClusterEnv

from diffwave_jax.errors import UserError, reason
from diffwave_jax.partners import Partners, hold_native_errors, leave, leave_with

SETTLING_SECONDS = 5.0  # in which the watch names a partner whose end another error was the first to tell


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where the other processes are.

    Attributes:
      detect: ask the environment (SLURM, Cloud TPU, GKE, Open MPI), as JAX does.
      coordinator: else the first process's HOST:PORT, reachable from all.
      num_processes: in all.
      process_id: this one's, from 0.
      timeout: seconds that a process waits for another that does not come, or gives no sign of life.
    """

    detect: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    timeout: int = 100


@contextlib.contextmanager
def joined(cluster: Cluster) -> Iterator[None]:
    """A block in which `jax.devices()` are those of all processes; must come before any computation.

    A cluster of one process does nothing. In one of many, an error ends the process at the block's end, with its line
    and status 2, or its traceback and status 1: what it would do afterwards would wait for the others. A process that
    ends early ends the others too, with one line that names it.

    Raises:
      UserError: the flags are incomplete.
    """
    explicit = (cluster.coordinator, cluster.num_processes, cluster.process_id)
    if not cluster.detect and explicit == (None, None, None):
        yield
        return
    _check(cluster, explicit)
    show_native_errors = hold_native_errors()
    try:
        partners = _join(cluster, explicit)
        yield
        partners.done()
    except UserError as error:
        leave(error)
    except BaseException as error:
        _leave_after(error)
    show_native_errors()


def _join(cluster: Cluster, explicit: tuple) -> Partners:
    """Makes the processes one; first they meet without JAX, which would wait for a missing one and then crash."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    address, count, process, devices = _detected(cluster) if cluster.detect else (*explicit, None)
    try:
        partners = Partners(address, process, count, cluster.timeout)
        # Silence is for the partners' watch to notice, so JAX's own limit is longer.
        jax.distributed.initialize(
            partners.coordinator,
            count,
            process,
            devices,
            initialization_timeout=cluster.timeout,
            heartbeat_timeout_seconds=2 * cluster.timeout + 60,
            shutdown_timeout_seconds=cluster.timeout,
        )
    except (ValueError, RuntimeError, OSError) as error:
        advice = f"can {address} be reached from every process, and is its port free on the first one?"
        raise UserError(f"the processes of the run cannot be joined ({reason(error)}): {advice}") from error
    return partners


def _detected(cluster: Cluster) -> tuple:
    """The first process's HOST:PORT, the number of processes, this one's, and its devices, as JAX finds them."""
    try:
        found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, cluster.timeout)
    except (ValueError, RuntimeError, OSError) as error:
        found, failure = (None,), reason(error)
    else:
        failure = "no SLURM, Open MPI, Cloud TPU or GKE"
    if None in found[:3]:
        hint = "nothing here says where they are: start them with SLURM, Open MPI, on Cloud TPU or GKE"
        raise UserError(f"the processes of the run cannot be joined ({failure}): {hint}")
    return found


def _leave_after(error: BaseException) -> None:
    """Ends the process after an error that may be a partner's end, which the watch then tells instead."""
    if isinstance(error, Exception):
        time.sleep(SETTLING_SECONDS)
    if isinstance(error, SystemExit):
        leave_with(error.code if isinstance(error.code, int) else int(error.code is not None))
    traceback.print_exception(error)
    leave_with(1)


def _check(cluster: Cluster, explicit: tuple) -> None:
    if cluster.detect and explicit != (None, None, None):
        raise UserError("--distributed finds the processes by itself: leave out --coordinator and what goes with it")
    if not cluster.detect and None in explicit:
        raise UserError("--coordinator, --num_processes and --process_id go together: give all three")
    if cluster.timeout < 1:
        raise UserError(f"--partner_timeout is {cluster.timeout}; it must be at least 1 second")
    number, count = cluster.process_id, cluster.num_processes
    if number is not None and count is not None and not 0 <= number < count:
        raise UserError(f"--process_id is {number}; it must be from 0 to {count - 1}")
