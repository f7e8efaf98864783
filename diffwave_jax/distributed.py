"""Joining the other processes of a run."""

import dataclasses

import jax

from diffwave_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where the other processes are.

    Attributes:
      detect: ask the environment (SLURM, Cloud TPU, GKE, Open MPI), as JAX does.
      coordinator: else the first process's HOST:PORT, reachable from all.
      num_processes: in all.
      process_id: this one's, from 0.
    """

    detect: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def join(cluster: Cluster) -> None:
    """Makes `jax.devices()` those of all processes; must come before any computation. Without flags, does nothing.

    Raises:
      UserError: the flags are incomplete, or the other processes cannot be found.
    """
    explicit = (cluster.coordinator, cluster.num_processes, cluster.process_id)
    if not cluster.detect and explicit == (None, None, None):
        return
    _check(cluster, explicit)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(*explicit)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        hint = "nothing here says where they are: start them with SLURM, Open MPI, on Cloud TPU or GKE"
        advice = hint if cluster.detect else "is the coordinator's HOST:PORT reachable, and every process started?"
        raise UserError(f"the processes of the run cannot be joined ({reason}): {advice}") from error


def _check(cluster: Cluster, explicit: tuple) -> None:
    if cluster.detect and explicit != (None, None, None):
        raise UserError("--distributed finds the processes by itself: leave out --coordinator and what goes with it")
    if not cluster.detect and None in explicit:
        raise UserError("--coordinator, --num_processes and --process_id go together: give all three")
    number, count = cluster.process_id, cluster.num_processes
    if number is not None and count is not None and not 0 <= number < count:
        raise UserError(f"--process_id is {number}; it must be from 0 to {count - 1}")
