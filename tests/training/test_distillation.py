"""A student lands where its teacher lands; its run is a run, and its checkpoint a checkpoint."""

import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs.distill import get_config
from diffwave_jax import checkpoint, load
from diffwave_jax.config import default_config, from_dict, model_section, to_dict
from diffwave_jax.config_check import check_config
from diffwave_jax.diffusion import Diffusion, noise_in
from diffwave_jax.errors import UserError
from diffwave_jax.generation import samplers
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.samplers import ChainState
from diffwave_jax.models import build, weights
from diffwave_jax.training.distillation import DistillationTask, target
from diffwave_jax.training.loop import Run
from diffwave_jax.training.segments import Segments, spaced_levels
from diffwave_jax.training.teacher import with_teacher
from tests.helpers.analytic import BETA_MAX, BETA_MIN, NUM_STEPS, Gaussian, Mixture, rows
from tests.helpers.runs import Recorder, write_clips
from tests.helpers.tiny import tiny_generator


def distillation(teacher, **distill):
    """The whole config of a short run that distils a teacher."""
    config = get_config()
    config.teacher = str(teacher)
    config.train.update(num_steps=3, batch_size=2, warmup_steps=0, log_every=1, checkpoint_every=2)
    config.distill.update(levels=2, substeps=2, **distill)
    return with_teacher(config)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The file of a tiny class-conditional model."""
    return tiny_generator("sashimi", n_classes=3, prediction="v").save(
        tmp_path_factory.mktemp("teacher") / "t.safetensors"
    )


@pytest.fixture(scope="module")
def config(teacher):
    return distillation(teacher, guidance=2.0)


def _walked(data, cut, x):
    """Where a segment after segment lands that an exact teacher walks, K + 1 arrays with the start."""
    landed = [x]
    for number in range(len(cut.student.timestep)):
        state = ChainState(landed[-1], np.zeros_like(x))
        for row in rows(cut.teacher)[cut.bounds[number] : cut.bounds[number + 1]]:
            state = samplers.step(row, state, data.predicted_noise(state.x, row), np.zeros_like(x))
        landed.append(state.x)
    return landed


@pytest.mark.parametrize("data", [Gaussian(), Mixture()])
@pytest.mark.parametrize(("steps", "starts"), [(12, [0, 3, 6, 9]), (5, [0]), (3, [0, 1, 2]), (9, [0, 1, 4])])
def test_a_perfect_student_lands_where_its_teacher_does(data, steps, starts):
    diffusion = Diffusion.linear(NUM_STEPS, BETA_MIN, BETA_MAX)
    section = get_config().distill
    walk = spaced_levels(diffusion, steps)
    section.update(guidance=1.0, noise_scale=1.0, walk=walk, starts=tuple(walk[start] for start in starts))
    cut = Segments.from_config(diffusion, section)
    landed = _walked(data, cut, np.random.default_rng(0).standard_normal(50))

    state = ChainState(landed[0], np.zeros(50))
    for number, row in enumerate(rows(cut.student)):
        end, start = landed[number + 1], landed[number]
        clean = target(end, start, cut.shrink[number], cut.share[number])
        alpha, sigma = row.signal, row.noise_level
        alpha_end, sigma_end = ([*cut.student.signal, 1.0], [*cut.student.noise_level, 0.0])
        ratio = sigma_end[number + 1] / sigma  # Salimans and Ho, algorithm 2, as it stands there
        expected = (end - ratio * start) / (alpha_end[number + 1] - ratio * alpha)
        np.testing.assert_allclose(clean, expected, rtol=1e-12)  # float64
        state = samplers.step(row, state, (state.x - alpha * clean) / sigma, np.zeros(50))
    np.testing.assert_allclose(state.x, landed[-1], atol=1e-10)  # float64; 1e-6 is asked for


def test_the_exact_teacher_is_walked_to_the_data():
    """Many steps of the walk bring normal noise to the data's distribution: the solver and its restarts are right."""
    diffusion, data = Diffusion.linear(NUM_STEPS, BETA_MIN, BETA_MAX), Gaussian()
    section = get_config().distill
    walk = spaced_levels(diffusion, 40)
    section.update(levels=4, guidance=1.0, noise_scale=1.0, walk=walk, starts=walk[::10])
    x = np.random.default_rng(0).standard_normal(100)
    found = _walked(data, Segments.from_config(diffusion, section), x)[-1]
    noisiest = diffusion.alpha_bar[-1]
    spread = np.sqrt(noisiest * data.std**2 + 1 - noisiest)
    exact = data.mean + data.std / spread * (x - np.sqrt(noisiest) * data.mean)  # the flow of a Gaussian is affine
    np.testing.assert_allclose(found, exact, atol=5e-3)  # 40 steps of second order, four of first


def test_levels_are_closer_near_the_clean_clip_and_nested():
    diffusion = Diffusion.linear()
    eight = spaced_levels(diffusion, 8)
    assert eight[0] == 199 and eight[::2] == spaced_levels(diffusion, 4)
    with pytest.raises(UserError, match="do not hold so many levels apart"):
        spaced_levels(diffusion, 201)


def test_the_teachers_early_steps(teacher, tmp_path):
    """More guidance, and another share of the predicted noise after each step; the teacher's own, if none is given."""
    rest, early, both = (
        Segments.from_config(Diffusion.linear(), distillation(teacher, **what).distill).teacher
        for what in (
            {"guidance": 2.0, "noise_scale": 0.9},
            {"guidance": 3.0, "noise_scale": 0.97},
            {"guidance": 2.0, "noise_scale": 0.9, "early": (100, 3.0, 0.97)},
        )
    )
    before = rest.timestep >= 100
    assert 0 < before.sum() < len(before)
    for calm, lively, spliced in zip(rest, early, both, strict=True):
        np.testing.assert_array_equal(spliced, np.where(before, lively, calm))
    assert not np.array_equal(rest.prediction, both.prediction)

    model = load(teacher)
    usual = {"sampler": "dpm++sde", "digit": (0, 1), "guidance": 2.0, "noise_scale": 0.9, "early": (100, 3.0, 0.97)}
    model.config.sample.update(usual)
    usual_of = model.save(tmp_path / "usual.safetensors")
    own, other = distillation(usual_of).distill, distillation(usual_of, guidance=2.0).distill
    assert (own.guidance, own.noise_scale, own.early) == (2.0, 1.0, (100, 3.0, 1.0)) and other.early == ()


@pytest.mark.parametrize("memory", [0.0, 0.001])  # seconds: fewer samples than a clip has
@pytest.mark.parametrize("lowest_guided", [0, 100])  # all segments, the first one alone
def test_what_the_student_should_predict(teacher, lowest_guided, memory):
    """The inputs and targets of a batch, beside steps of the loaded teacher one by one, guided by 2."""
    config = distillation(teacher, guidance=2.0, guided_steps=(lowest_guided, 199), guide_memory=memory)
    task, model = DistillationTask(config), load(teacher)
    network, cut = task.build(nnx.Rngs(0)), task._segments
    batch = {"index": jnp.arange(8), "label": jnp.zeros(8, jnp.int32)} | task.constants()
    clips = task._clips(network, batch, jax.random.key(0))
    starts, targets = (np.asarray(part, np.float64) for part in task._examples(network, clips, batch))

    frozen = weights.merge(model._graph, model._params)
    weaker = frozen.short_filters(model._filters, memory * model.sample_rate) if memory else model._filters

    def noise(x, step, label, filters):
        output = frozen(jnp.float32(x), jnp.full(8, step.timestep), label, filters=filters)
        level = jnp.float32(step.signal), jnp.float32(step.noise_level)
        return np.asarray(noise_in("v", output, jnp.float32(x), *level), np.float64)

    def landed(x, steps):
        before = 0.0
        for step in steps:
            unguided, plain = noise(x, step, None, weaker), noise(x, step, clips.labels, model._filters)
            scale = 2.0 if step.timestep >= lowest_guided else 1.0
            guided = unguided + scale * (plain - unguided) if scale != 1 else plain
            clean = (x - step.noise_level * guided) / step.signal
            x = step.state * x + step.data * clean + step.correction * (clean - before)
            before = clean
        return x

    ends = zip([*cut.student.signal[1:], 1.0], [*cut.student.noise_level[1:], 0.0], strict=True)
    for number, (row, (alpha_end, sigma_end)) in enumerate(zip(rows(cut.student), ends, strict=True)):
        end = landed(starts[number], rows(cut.teacher)[2 * number : 2 * number + 2])
        ratio = sigma_end / row.noise_level
        expected = (end - ratio * starts[number]) / (alpha_end - ratio * row.signal)
        # Float32 in the network, whose output is divided by the signal of the noisiest level, 0.36.
        np.testing.assert_allclose(targets[number], expected, atol=3e-5)
        if number == 0:
            predicted = noise(starts[0], row, clips.labels, model._filters)
            own = alpha_end * (starts[0] - row.noise_level * predicted) / row.signal + sigma_end * predicted
            itself = np.max(np.abs(starts[1] - own), axis=1) < 3e-5  # as above
            assert 0 < itself.sum() < 8  # about half of them
            np.testing.assert_allclose(starts[1][~itself], end[~itself], atol=3e-5)


@pytest.fixture(scope="module")
def student(config, tmp_path_factory):
    """The folder of a whole run, and what it told."""
    workdir, told = tmp_path_factory.mktemp("student") / "run", Recorder()
    Run(config, workdir, [told]).train()
    return workdir, told


def test_a_run_goes_on_to_the_same_bits(config, student, tmp_path):
    workdir, told = student
    assert {"loss", "loss_from_199", f"loss_from_{config.sample.levels[1]}"} <= told.values[3].keys()
    shutil.copytree(workdir / "checkpoints" / "2", tmp_path / "run" / "checkpoints" / "2")
    Run(config, tmp_path / "run").train()
    chex.assert_trees_all_equal(_arrays(tmp_path / "run"), _arrays(workdir))


def _arrays(workdir):
    return {
        item: checkpoint.read_arrays(workdir / "checkpoints" / "3" / item) for item in ("params", "ema", "optimizer")
    }


def test_the_checkpoint_is_an_ordinary_one(config, student, teacher, tmp_path):
    made = load(student[0])
    assert made.config.sample.levels == config.sample.levels and made.config.sample.distilled
    check_config(made.config)
    assert from_dict(to_dict(made.config)) == made.config
    changed = {name for name, value in made.params.items() if not np.array_equal(value, load(teacher).params[name])}
    filters = {name for name in made.params if ".s4.kernel." in name or name.endswith(".s4.D")}
    # The filters stay the teacher's; so does the direction of a weight that is one number, input.v.
    assert set(made.params) - changed == filters | {"input.v"}
    again = load(made.save(tmp_path / "student.safetensors"))
    np.testing.assert_array_equal(again.generate(2), made.generate(2))


def test_a_student_teaches_the_next_one(student):
    taught = load(student[0]).config.sample.levels
    config = get_config()
    config.teacher = str(student[0])
    config.distill.levels = 1
    next_one = with_teacher(config)
    assert next_one.sample.levels == taught[:1]
    assert (next_one.distill.walk, next_one.distill.solver, next_one.distill.guidance) == (taught, "ddim", 1)
    config.distill.levels = 4
    with pytest.raises(UserError, match=r"distill\.levels is 4, but the teacher walks over 2 levels"):
        with_teacher(config)


def test_a_student_may_start_where_it_is_told(teacher):
    config = get_config()
    config.teacher = str(teacher)
    config.distill.update(levels=4, substeps=2)
    walk = with_teacher(config).distill.walk
    config.distill.starts = walk[0], walk[1], walk[4]
    whole = with_teacher(config)
    assert whole.sample.levels == whole.distill.starts == config.distill.starts
    assert (whole.distill.levels, whole.sample.steps, len(whole.distill.walk)) == (3, 3, 8)
    for wrong in (walk[1:3], (walk[0], walk[4], walk[1]), (walk[0], walk[1] - 1)):
        config.distill.starts = wrong
        with pytest.raises(UserError, match=r"distill\.starts is .* give some of the teacher's levels"):
            with_teacher(config)


def test_another_teacher_is_not_followed_halfway(config, student, tmp_path):
    other = config.copy_and_resolve_references()
    other.distill.fingerprint = "0" * 12
    shutil.copytree(student[0], tmp_path / "run")
    with pytest.raises(UserError, match=r"was trained with distill\.fingerprint="):
        Run(other, tmp_path / "run").train()


def test_a_student_learns(tmp_path):
    """An unconditional teacher of noise, with filters or without, whose student's error falls."""
    config = distillation(tiny_generator("diffwave").save(tmp_path / "teacher.safetensors"))
    config.train.update(num_steps=40, batch_size=4, learning_rate=3e-3, checkpoint_every=100)
    told = Recorder()
    Run(config, tmp_path / "run", [told]).train()
    losses = [told.values[step]["loss"] for step in range(1, 41)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_a_vocoder_learns_on_the_mels_of_its_data(tmp_path):
    teacher = default_config()
    size = {"channels": 32, "n_layers": 2, "dilation_cycle": 2, "step_widths": (8, 8, 8)}
    teacher.model = model_section("diffwave", length=320, n_mels=8, upsample=(4, 4), **size)
    teacher.diffusion.update(num_steps=50, beta_max=0.05)
    teacher.data.update(source="folder", whole=True, sample_rate=8000, length=320, data_dir=str(tmp_path / "prepared"))
    teacher.mel.update(kind="tacotron", n_fft=64, hop=16, window=64, fmax=4000.0)
    _, params = weights.split(build(teacher.model, rngs=nnx.Rngs(0)))
    file = Generator(teacher, params).save(tmp_path / "teacher.safetensors")

    config = get_config()
    config.teacher, config.data.archive = str(file), str(write_clips(tmp_path / "clips"))
    config.distill.update(levels=2, substeps=2)
    config.train.update(num_steps=2, batch_size=2, warmup_steps=0, checkpoint_every=2)
    Run(with_teacher(config), tmp_path / "run").train()
    student = load(tmp_path / "run")
    told = []
    mel = np.full((8, 20), -4.3, np.float32)
    student.vocode(mel, on_step=lambda *step: told.append(step))
    assert told == [(1, 2), (2, 2)]
    with pytest.raises(UserError, match="distilled to the levels"):
        student.vocode(mel, sampler="fast")


def test_wrong_teachers(teacher, tmp_path):
    config = get_config()
    config.teacher = ""
    with pytest.raises(UserError, match="a distillation needs a teacher"):
        with_teacher(config)
    config.teacher = str(tmp_path / "nothing")
    with pytest.raises(UserError, match="nothing"):
        with_teacher(config)
    plain = tmp_path / "plain.safetensors"
    tiny_generator("diffwave").save(plain)
    with pytest.raises(UserError, match=r"distill\.guidance has guidance 2\.0, but the teacher is unconditional"):
        distillation(plain, guidance=2.0)
    with pytest.raises(UserError, match=r"distill\.early has guidance 3\.0, but the teacher is unconditional"):
        distillation(plain, early=(2, 3.0, 1.0))
    with pytest.raises(UserError, match="guide_memory shortens what a SaShiMi's S4 layers hear"):
        distillation(plain, guidance=2.0, guide_memory=0.1)
    with pytest.raises(UserError, match=r"guide_memory is 0\.1, but guidance is 1"):
        distillation(teacher, guidance=1.0, guide_memory=0.1)
    with pytest.raises(UserError, match="call with_teacher first"):
        DistillationTask(get_config())
