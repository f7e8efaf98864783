"""A teacher's chain cut into segments: a distilled model makes one step of each."""

import dataclasses

import numpy as np
from jaxtyping import Float64, Int
from ml_collections import ConfigDict

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation.samplers import SamplerTable, spliced
from diffwave_jax.generation.samplers.ddim import ddim
from diffwave_jax.generation.samplers.dpm_solver import dpm_solver
from diffwave_jax.generation.samplers.schedule import explicit
from diffwave_jax.generation.settings import guidance_at

SOLVERS = {"ddim": ddim, "dpm++": dpm_solver}
FINER = 2.0  # 1 spaces levels evenly by angle; higher brings them closer together near the clean clip


@dataclasses.dataclass(frozen=True, eq=False)
class Segments:
    """What teacher and student do between the same K levels.

    Attributes:
      teacher: the rows of its walk, those of a segment one after another.
      student: K rows of DDIM, one a segment.
      bounds: (K + 1,) the first row of each segment in the walk, and how many rows there are.
    """

    teacher: SamplerTable
    student: SamplerTable
    bounds: Int[np.ndarray, " bounds"]

    @classmethod
    def from_config(cls, diffusion: Diffusion, distill: ConfigDict) -> "Segments":
        """Those of a `distill` section that is whole, see `diffwave_jax.training.teacher`.

        The first step of each segment is of first order: a multistep solver knows nothing of the segment before. A
        `noise_scale` below 1 leaves less of the predicted noise after each step, above 1 more.
        """
        walk = np.array(distill.walk)
        first = np.isin(walk, distill.starts)
        rows = SOLVERS[distill.solver](explicit(diffusion, walk), 0.0)
        rows = rows._replace(correction=np.where(first, 0.0, rows.correction))
        teacher = _guided(rows, distill, distill.guidance, distill.noise_scale)
        if distill.early:
            step, *others = distill.early
            teacher = spliced(_guided(rows, distill, *others), teacher, step)
        bounds = np.append(np.flatnonzero(first), len(walk))
        return cls(teacher, ddim(explicit(diffusion, walk[first]), 0.0), bounds)

    @property
    def shrink(self) -> Float64[np.ndarray, " segments"]:
        """(K,) by what the noise is multiplied from a segment's start to its end; 0 for the last."""
        return self._ends[1] / self.student.noise_level

    @property
    def share(self) -> Float64[np.ndarray, " segments"]:
        """(K,) of the clean clip in where a DDIM step lands, next to `shrink` times its start."""
        return self._ends[0] - self.student.signal * self.shrink

    @property
    def weight(self) -> Float64[np.ndarray, " segments"]:
        """(K,) of the clean clip's error: signal over noise, at least 1 ("truncated SNR", 2202.00512, section 4)."""
        return np.maximum((self.student.signal / self.student.noise_level) ** 2, 1)

    @property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """(K,) signal and noise level where each segment ends."""
        return np.append(self.student.signal[1:], 1.0), np.append(self.student.noise_level[1:], 0.0)


def _guided(rows: SamplerTable, distill: ConfigDict, guidance: float, noise_scale: float) -> SamplerTable:
    """A walk's rows with a scale of guidance, and one of the predicted noise that each leaves."""
    ends = np.append(rows.noise_level[1:], 0.0)
    return rows._replace(
        prediction=rows.prediction - (1 - noise_scale) * ends,
        guidance=guidance_at(rows.timestep, guidance, distill.guided_steps),
    )


def spaced_levels(diffusion: Diffusion, count: int) -> tuple[int, ...]:
    """Trained levels from the noisiest on, spaced by the angle arctan(noise / signal), closer near the clean clip.

    Evenly spaced angles are those of the cosine schedule of Salimans and Ho (2202.00512, section 2).

    Args:
      diffusion: the schedule.
      count: how many; every second of 2 K levels is a level of K, but for rounding.

    Raises:
      UserError: the schedule does not hold so many apart.
    """
    angle = np.arccos(np.sqrt(diffusion.alpha_bar))
    wanted = angle[-1] * (np.arange(count, 0, -1) / count) ** FINER
    levels = np.rint(np.interp(wanted, angle, np.arange(len(angle)))).astype(int)
    levels = np.maximum(levels, np.arange(count)[::-1])  # each at least one below the one before
    if count > len(angle) or np.any(np.diff(levels) >= 0):
        raise UserError(
            f"distill.levels times distill.substeps is {count}: the teacher's {diffusion.num_steps} diffusion steps do "
            "not hold so many levels apart; take fewer"
        )
    return tuple(levels.tolist())
