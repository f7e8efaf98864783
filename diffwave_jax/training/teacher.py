"""The model that a distillation learns from, and the config of the student that it makes."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.loading import load_diffusion
from diffwave_jax.generation.settings import check_guide_memory
from diffwave_jax.training.segments import spaced_levels


def load_teacher(config: ConfigDict) -> Generator:
    """The teacher of a distillation's config, from wherever `diffwave_jax.load` finds `config.teacher`.

    Raises:
      UserError: none is named, it cannot be loaded, or it makes no clips by diffusion.
    """
    if not config.teacher:
        raise UserError("a distillation needs a teacher: give --config.teacher=RUN, or the name of a pretrained model")
    return load_diffusion(config.teacher)


def with_teacher(config: ConfigDict) -> ConfigDict:
    """A distillation's config, whole: the teacher's network, noise schedule, data and mels, the config's own training.

    Args:
      config: a config whose task is "distillation"; it stays as it is.

    Returns:
      A config whose `distill` section says all that the teacher does, and whose `sample` section has the student's
      levels.

    Raises:
      UserError: there is no such teacher, or it cannot be distilled so.
    """
    teacher = load_teacher(config)
    whole = teacher.config.copy_and_resolve_references()
    with whole.unlocked(), whole.ignore_type():
        for name in ("seed", "train", "teacher", "distill"):
            whole[name] = config[name]
        whole = whole.copy_and_resolve_references()  # the given config stays as it is
        whole.data.update({name: value for name, value in config.data.items() if value})
        whole.distill.update(_walk(whole.distill, teacher))
        whole.distill.fingerprint = teacher.fingerprint
        whole.sample.update(_sampled(whole.distill))
    return whole


def _walk(distill: ConfigDict, teacher: Generator) -> dict:
    """The fields of `distill` that say what the teacher does between the student's levels."""
    usual = teacher.config.sample
    usual_memory = 0.0 if distill.guidance == 1 else usual.guide_memory
    memory = usual_memory if distill.guide_memory is None else distill.guide_memory
    guidance = (usual.guidance if usual.digit or memory else 1.0) if distill.guidance is None else distill.guidance
    early = _usual_early(distill, usual) if distill.early is None else distill.early
    for field, scale in {"guidance": guidance, "early": early[1] if early else 1.0}.items():
        if scale != 1 and not teacher.config.model.n_classes and not memory:
            raise UserError(f"distill.{field} has guidance {scale}, but the teacher is unconditional: leave it out")
    check_guide_memory(memory, guidance, teacher.config)
    walk = distill.walk or usual.levels or spaced_levels(teacher.diffusion, distill.levels * distill.substeps)
    starts = distill.starts or _evenly(walk, distill.levels)
    if starts[0] != walk[0] or list(starts) != [level for level in walk if level in starts]:
        raise UserError(
            f"distill.starts is {tuple(starts)}; give some of the teacher's levels {','.join(map(str, walk))}, the "
            "first among them, in this order"
        )
    return {
        "walk": tuple(walk),
        "starts": tuple(starts),
        "levels": len(starts),
        "solver": "ddim" if usual.distilled else "dpm++",
        "guidance": guidance,
        "guide_memory": memory,
        "noise_scale": 1.0 if distill.noise_scale is None else distill.noise_scale,
        "guided_steps": usual.guided_steps if distill.guided_steps is None else distill.guided_steps,
        "early": tuple(early),
    }


def _usual_early(distill: ConfigDict, usual: ConfigDict) -> tuple:
    """How a teacher is guided at its early steps; a guidance that is given is for all steps, as in sampling.

    Its noise scale is left out: that is for fresh noise, which the walk does not add.
    """
    return (*usual.early[:2], 1.0) if usual.early and distill.guidance is None else ()


def _evenly(walk: Sequence[int], levels: int) -> Sequence[int]:
    """So many of a walk's levels that as many of its steps are between each."""
    if len(walk) % levels:
        raise UserError(
            f"distill.levels is {levels}, but the teacher walks over {len(walk)} levels: take a number that divides "
            "them, or give distill.starts"
        )
    return walk[:: len(walk) // levels]


def _sampled(distill: ConfigDict) -> dict:
    """The fields of `sample` that suit the student alone."""
    return {
        "levels": distill.starts,
        "distilled": True,
        "sampler": "ddim",
        "steps": distill.levels,
        "guidance": 1.0,
        "guided_steps": (),
        "guide_memory": 0.0,
        "early": (),
        "eta": None,
        "noise_scale": 1.0,
        "clamp": 0.0,
        "polish": None,
    }
