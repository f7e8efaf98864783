"""What a loaded model can do, on tiny random networks."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax.config import model_section
from diffwave_jax.doing import telling
from diffwave_jax.errors import UserError
from diffwave_jax.generation import samplers
from diffwave_jax.generation.chain import clip_keys
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.samplers import SAMPLERS, ChainState
from diffwave_jax.generation.settings import Settings
from diffwave_jax.models import DiffWave, SaShiMi, weights
from tests.helpers.analytic import rows
from tests.helpers.tiny import tiny_generator

ROUNDING = 1e-5  # float32 results of the same sums in another order, for audio of order 1; 1e-6 was found

FEW = Settings(sampler="ddpm", steps=12)
ANCESTRAL = Settings(sampler="ddpm", steps=200)


@pytest.fixture(scope="module")
def unconditional():
    return tiny_generator()


@pytest.fixture(scope="module")
def conditional():
    return tiny_generator(n_classes=10)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_generates(unconditional, sampler):
    audio = unconditional.generate(3, steps=None if sampler == "fast" else 4, sampler=sampler)
    assert audio.shape == (3, 256) and audio.dtype == np.float32
    assert np.all(np.isfinite(audio)) and np.std(audio) > 0
    assert not np.allclose(audio[0], audio[1])


def test_the_compiled_chain_is_the_samplers_steps(unconditional):
    settings = Settings(seed=4, sampler="dpm++sde", steps=5)
    keys = clip_keys(4, np.arange(2))

    def normal(purpose):
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, purpose), (256,)))(keys)

    state = ChainState(normal(0), jnp.zeros((2, 256)))
    for i, row in enumerate(rows(samplers.plan(unconditional.diffusion, "dpm++sde", 5))):
        predicted = unconditional.predict_noise(state.x, jnp.full((2,), row.timestep))
        state = samplers.step(row, state, predicted, normal(i + 1))
    found = unconditional.generate(2, settings.seed, settings.steps, settings.sampler)
    np.testing.assert_array_equal(unconditional.generate_from_latent(unconditional.latents(2, 4), settings), found)
    np.testing.assert_allclose(found, state.x, atol=ROUNDING)


def test_a_pass_after_the_chain_hears_its_clip_with_new_noise(conditional):
    chain = {"levels": (199, 90, 20), "sampler": "ddim", "digit": 3, "seed": 4}
    clips, t = conditional.generate(2, guidance=2.0, **chain), 60
    level = conditional.diffusion.alpha_bar[t]
    fresh = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 3), (256,)))(clip_keys(4, np.arange(2)))
    noisy = np.sqrt(level) * clips + np.sqrt(1 - level) * fresh
    noise = conditional.predict_noise(noisy, np.full(2, t), np.full(2, 3))
    expected = (noisy - np.sqrt(1 - level) * noise) / np.sqrt(level)
    told = []
    found = conditional.generate(2, guidance=2.0, polish=t, on_step=lambda *step: told.append(step), **chain)
    np.testing.assert_allclose(found, expected, atol=ROUNDING)
    assert told[-1] == (4, 4)  # one evaluation more than levels
    np.testing.assert_allclose(conditional.generate(1, guidance=2.0, polish=t, **chain), found[:1], atol=ROUNDING)


def test_a_pass_after_the_chain_is_not_part_of_the_way_to_w(unconditional):
    settings = Settings(sampler="ddim", steps=6, polish=120)
    w = unconditional.z2w(unconditional.latents(2), 50, settings)
    np.testing.assert_array_equal(w, unconditional.z2w(unconditional.latents(2), 50, Settings(sampler="ddim", steps=6)))
    polished = unconditional.generate(2, steps=6, sampler="ddim", polish=120)
    np.testing.assert_array_equal(unconditional.generate_from_w(w, 50, settings), polished)


def test_a_clip_depends_on_seed_and_index_alone(unconditional):
    five = unconditional.generate(5, seed=1, steps=4, sampler="ddpm", batch_size=5)
    three = unconditional.generate(3, seed=1, steps=4, sampler="ddpm", batch_size=1)
    np.testing.assert_allclose(five[:3], three, atol=ROUNDING)
    settings = Settings(seed=1, steps=4, sampler="ddpm")
    indices, alone = next(unconditional.clips([3], settings))
    assert list(indices) == [3]
    np.testing.assert_allclose(alone[0], five[3], atol=ROUNDING)
    assert not np.allclose(unconditional.generate(1, seed=2, steps=4, sampler="ddpm"), five[:1])


def test_progress_is_reported_and_changes_nothing(unconditional):
    calls = []
    watched = unconditional.generate(3, steps=4, batch_size=2, on_step=lambda *call: calls.append(call))
    assert calls == [(done, 8) for done in range(1, 9)]
    np.testing.assert_array_equal(watched, unconditional.generate(3, steps=4, batch_size=2))


def test_guidance_is_a_mixture_of_two_predictions(conditional):
    settings = Settings(sampler="ddim", steps=1, digit=(7,), guidance=2.5)
    z = conditional.latents(2)
    t, table = jnp.full((2,), 199), samplers.plan(conditional.diffusion, "ddim", 1)
    with_digit, without = (conditional.predict_noise(jnp.asarray(z), t, jnp.full((2,), label)) for label in (7, 10))
    mixed = without + 2.5 * (with_digit - without)
    expected = samplers.step(rows(table)[0], ChainState(z, 0 * z), mixed, 0 * z).x
    # One step from alpha_bar = 0.13 multiplies the prediction's rounding by 2.6, guidance by 4 more.
    np.testing.assert_allclose(conditional.generate_from_latent(z, settings), expected, atol=1e-4)


def test_guidance_can_be_kept_to_some_steps(conditional):
    asked = {"steps": 8, "sampler": "ddim", "digit": 7}
    plain, guided = conditional.generate(2, **asked), conditional.generate(2, guidance=3.0, **asked)
    for steps, same in [((0, 199), guided), ((150, 160), plain)]:  # 8 steps from 199 to 0: none from 143 to 170
        found = conditional.generate(2, guidance=3.0, guided_steps=steps, **asked)
        np.testing.assert_allclose(found, same, atol=ROUNDING)
    some = conditional.generate(2, guidance=3.0, guided_steps=(50, 120), **asked)
    assert not np.allclose(some, guided, atol=1e-3) and not np.allclose(some, plain, atol=1e-3)
    table = conditional._table(Settings(guidance=3.0, guided_steps=(50, 120), steps=8, sampler="ddim", digit=(7,)))
    np.testing.assert_array_equal(table.guidance == 3, (table.timestep >= 50) & (table.timestep <= 120))
    with pytest.raises(UserError, match="lowest and the highest step"):
        conditional.generate(1, guided_steps=(3,), **asked)


def test_early_steps_have_guidance_and_noise_of_their_own(conditional):
    asked = {"steps": 8, "sampler": "ddim", "eta": 1.0, "digit": 7}
    early, late = {"guidance": 3.0, "noise_scale": 0.5}, {"guidance": 2.0, "noise_scale": 0.9}
    for step, same in [(0, early), (200, late)]:  # all steps are early, none is
        found = conditional.generate(2, early=(step, 3.0, 0.5), **late, **asked)
        np.testing.assert_array_equal(found, conditional.generate(2, **same, **asked))
    tables = [
        conditional._table(Settings.for_model(conditional.config, **what, **asked))
        for what in (late, early, {**late, "early": (100, 3.0, 0.5)})
    ]
    before = tables[0].timestep >= 100
    assert 0 < before.sum() < len(before)
    for calm, lively, both in zip(*tables, strict=True):
        np.testing.assert_array_equal(both, np.where(before, lively, calm))
    with pytest.raises(UserError, match=r"noise_scale is 0\.5, but 'ddim' adds no noise here; leave it out"):
        conditional.generate(1, steps=8, sampler="ddim", digit=7, early=(100, 3.0, 0.5))


@pytest.mark.parametrize("n_classes", [0, 10])
def test_a_guide_of_short_memory(n_classes):
    """One step beside the network's own predictions: with its filters, and without a label and with shorter ones."""
    model = tiny_generator("sashimi", n_classes=n_classes)
    digit = (7,) if n_classes else ()
    settings = Settings(sampler="ddim", steps=1, digit=digit, guidance=2.5, guide_memory=0.001)
    z, t = jnp.asarray(model.latents(2)), jnp.full((2,), 199)
    network = weights.merge(model._graph, model._params)
    memory = 0.001 * model.sample_rate  # fewer samples than a clip has
    weaker = network.short_filters(model._filters, memory)

    def predicted(label, filters):
        return network(z, t, jnp.full((2,), label) if n_classes else None, filters=filters)

    strong, weak = predicted(7, model._filters), predicted(10, weaker)
    assert not np.allclose(predicted(10, model._filters), weak, atol=1e-3)
    row = rows(samplers.plan(model.diffusion, "ddim", 1))[0]
    expected = samplers.step(row, ChainState(z, 0 * z), weak + 2.5 * (strong - weak), 0 * z).x
    # One step from alpha_bar = 0.13 multiplies the prediction's rounding by 2.6, guidance by 4 more.
    np.testing.assert_allclose(model.generate_from_latent(z, settings), expected, atol=1e-4)
    plain = dataclasses.replace(settings, guidance=1.0, guide_memory=0.0)
    assert not np.allclose(model.generate_from_latent(z, plain), expected, atol=1e-2)
    outside = dataclasses.replace(settings, guided_steps=(0, 100))
    np.testing.assert_allclose(model.generate_from_latent(z, outside), model.generate_from_latent(z, plain), atol=1e-5)


def test_only_a_sashimi_has_memory_to_shorten(unconditional):
    with pytest.raises(UserError, match="guide_memory shortens what a SaShiMi's S4 layers hear"):
        unconditional.generate(1, guidance=2.0, guide_memory=0.1)


def test_digits_are_taken_in_turn(conditional):
    cycled = conditional.generate(4, steps=3, digit=[7, 2], guidance=2.0)
    for index in range(4):
        settings = Settings.for_model(conditional.config, steps=3, digit=(7, 2)[index % 2], guidance=2.0)
        alone = next(conditional.clips([index], settings))[1]
        np.testing.assert_allclose(cycled[index], alone[0], atol=ROUNDING)
    assert not np.allclose(cycled, conditional.generate(4, steps=3), atol=1e-3)


def test_speakers_take_turns_until_each_has_said_each_digit():
    def settings(**asked):
        return Settings(sampler="ddim", steps=1, **asked)

    for digits, speakers in [(10, 6), (5, 6), (4, 4), (1, 3), (3, 1)]:
        turns = settings(digit=tuple(range(digits)))
        said = {(turns.digit_of(i), turns.speaker_of(i, speakers)) for i in range(digits * speakers)}
        assert len(said) == digits * speakers
    assert [settings(digit=(7,), speaker=(4, 2)).speaker_of(i, 6) for i in range(4)] == [4, 2, 2, 4]
    assert settings(digit=(7,)).speaker_of(3, 0) is None and settings().speaker_of(3, 6) is None


def test_speakers_on_request():
    model = tiny_generator(n_classes=10, n_speakers=3)
    turns = model.generate(4, steps=3, digit=(7, 2), guidance=2.0)
    for index, (digit, speaker) in enumerate([(7, 0), (2, 1), (7, 2), (2, 0)]):
        settings = Settings.for_model(model.config, steps=3, digit=digit, guidance=2.0, speaker=f"speaker{speaker}")
        alone = next(model.clips([index], settings))[1]
        np.testing.assert_allclose(alone[0], turns[index], atol=ROUNDING)
    noise = model.predict_noise(turns, np.full(4, 9), np.array([7, 12, 27, 2]))
    assert not np.allclose(noise, model.predict_noise(turns, np.full(4, 9), np.array([30, 30, 30, 30])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"digit": 7, "speaker": 3},
            "speaker is 3; this model has the speakers speaker0, speaker1, speaker2, by number 0 to 2",
        ),
        ({"speaker": 1}, "a speaker is asked for, but no digit"),
    ],
)
def test_speakers_that_cannot_be_had(settings, message):
    with pytest.raises(UserError, match=message):
        tiny_generator(n_classes=10, n_speakers=3).generate(1, **settings)


def test_a_model_of_v_samples_like_one_of_noise(unconditional):
    """The same function, said as noise and said as v, makes the same clips."""
    x, t = jax.random.normal(jax.random.key(0), (2, 256)), jnp.asarray([3, 150])
    output = unconditional.predict_noise(x, t)
    as_v = tiny_generator(prediction="v")
    signal = np.sqrt(as_v.diffusion.alpha_bar)[np.asarray(t)][:, None]
    level = np.sqrt(1 - signal**2)
    np.testing.assert_allclose(as_v.predict_noise(x, t), signal * output + level * x, atol=ROUNDING)
    row = jax.tree.map(lambda column: column[0], samplers.plan(as_v.diffusion, "ddim", 1))
    z = as_v.latents(2)
    noise = as_v.predict_noise(z, jnp.full(2, row.timestep))
    expected = samplers.step(row, ChainState(jnp.asarray(z), jnp.zeros_like(z)), noise, jnp.zeros_like(z)).x
    np.testing.assert_allclose(as_v.generate(2, steps=1, sampler="ddim"), expected, atol=ROUNDING)


def test_no_digit_is_the_label_none(conditional):
    z = conditional.latents(1)
    predicted = conditional.predict_noise(jnp.asarray(z), jnp.full((1,), 199), jnp.full((1,), 10))
    row = rows(samplers.plan(conditional.diffusion, "ddim", 1))[0]
    expected = samplers.step(row, ChainState(z, 0 * z), predicted, 0 * z).x
    np.testing.assert_allclose(conditional.generate(1, steps=1, sampler="ddim"), expected, atol=ROUNDING)


@pytest.mark.parametrize(("guidance", "evaluations"), [(1.0, 1), (1.5, 2)])
def test_guidance_costs_one_evaluation_or_two_in_one_batch(monkeypatch, guidance, evaluations):
    batches = []
    original = DiffWave.__call__

    def counted(self, x, *args, **kwargs):
        batches.append(x.shape[0])
        return original(self, x, *args, **kwargs)

    monkeypatch.setattr(DiffWave, "__call__", counted)
    tiny_generator(n_classes=10).generate(3, steps=2, digit=1, guidance=guidance, batch_size=3)
    assert batches == [3 * evaluations]  # traced once, in the body of the loop over the steps


def test_s4_kernels_are_computed_once(monkeypatch):
    generator = tiny_generator("sashimi", n_classes=2)  # a network that no other test traces
    calls, original = [], SaShiMi.filters
    monkeypatch.setattr(SaShiMi, "filters", lambda self, *args: calls.append(1) or original(self, *args))
    generator.generate(2, steps=3, batch_size=1)
    generator.generate(1, steps=4, sampler="ddim")
    assert len(calls) == 1


def test_latents_and_w_lead_to_the_same_clips(unconditional):
    expected = unconditional.generate(3, seed=5, steps=12, sampler="ddpm")
    settings = dataclasses.replace(FEW, seed=5)
    z = unconditional.latents(3, seed=5)
    np.testing.assert_array_equal(unconditional.generate_from_latent(z, settings), expected)
    w = unconditional.z2w(z, 50, settings)
    assert w.shape == (3, 256) and not np.allclose(w, expected, atol=1e-2)
    np.testing.assert_array_equal(unconditional.generate_from_w(w, 50, settings), expected)


def test_w_is_the_state_after_step_interp_t(unconditional):
    z = unconditional.latents(1)
    table = samplers.plan(unconditional.diffusion, "ddpm")
    keys, state = clip_keys(0, np.arange(1)), ChainState(jnp.asarray(z), jnp.zeros_like(z))
    for i, row in enumerate(rows(table)[:10]):  # steps 199 to 190
        noise = jax.random.normal(jax.random.fold_in(keys[0], i + 1), (1, 256))
        state = samplers.step(row, state, unconditional.predict_noise(state.x, jnp.full((1,), row.timestep)), noise)
    np.testing.assert_allclose(unconditional.z2w(z, 190, ANCESTRAL), state.x, atol=ROUNDING)


def test_interpolation_runs_from_one_clip_to_the_other(unconditional):
    deterministic = Settings(sampler="ddim", steps=12)
    told = []
    clips = unconditional.interpolate(3, 8, 5, settings=deterministic, on_step=lambda *steps: told.append(steps))
    total = told[0][1]
    assert told == [(step, total) for step in range(1, total + 1)] and total > 12  # both ends' steps above w, then all
    assert clips.shape == (5, 256)
    for end, seed in ((0, 3), (-1, 8)):
        alone = unconditional.generate(1, seed=seed, steps=12, sampler="ddim")
        np.testing.assert_allclose(clips[end], alone[0], atol=ROUNDING)
    moves = np.linalg.norm(np.diff(clips, axis=0), axis=1)
    assert np.all(moves < np.linalg.norm(clips[-1] - clips[0]))


def test_denoising_starts_from_the_clip_at_its_level(unconditional):
    noisy = 0.1 * np.random.default_rng(0).standard_normal((2, 256)).astype(np.float32)
    step, settings = 10, Settings(sampler="ddim", steps=11)
    table = samplers.plan(unconditional.diffusion, "ddim", start=step)
    state = ChainState(jnp.asarray(noisy * table.signal[0]), jnp.zeros((2, 256)))
    for row in rows(table):
        predicted = unconditional.predict_noise(state.x, jnp.full((2,), row.timestep))
        state = samplers.step(row, state, predicted, jnp.zeros((2, 256)))
    np.testing.assert_allclose(unconditional.denoise(noisy, step, settings), state.x, atol=ROUNDING)


def test_one_program_runs_the_rows_with_and_without_a_guide_of_short_memory():
    model, told = tiny_generator("sashimi", n_classes=10), []
    plain = Settings(sampler="ddim", steps=2, levels=(199, 20), digit=(3,))
    guided = dataclasses.replace(plain, guidance=2.0, guide_memory=0.01)
    with telling(told.append):
        both = dataclasses.replace(guided, guided_steps=(50, 199))
        clips = model.generate_from_latent(model.latents(2), both)
    assert told.count("compiling") == 1
    w = model.z2w(model.latents(2), 50, guided)
    np.testing.assert_allclose(clips, model.generate_from_w(w, 50, plain), atol=ROUNDING)


def test_a_recording_of_integers_is_not_denoised(unconditional, unchecked):
    with pytest.raises(UserError, match="integers of int16: divide them by their full scale"):
        unconditional.denoise(np.full((1, 256), 300, np.int16))


def test_scaled_audio_comes_back_at_its_own_scale(unconditional):
    config = unconditional.config.copy_and_resolve_references()
    config.diffusion.signal_scale = 4.0
    louder = type(unconditional)(config, unconditional._params)
    np.testing.assert_allclose(4 * louder.generate(2, steps=3), unconditional.generate(2, steps=3), atol=ROUNDING)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0; ask for at least 1 clip"),
        ({"n": 1, "digit": 10}, "digit is 10; this model has the classes zero, one, .*nine, by number 0 to 9"),
        ({"n": 1, "guidance": 2.0}, "no digit is asked for"),
        ({"n": 1, "sampler": "euler"}, "unknown sampler 'euler'"),
        ({"n": 1, "steps": 500}, "steps is 500; it must be between 1 and 200"),
        ({"n": 1, "batch_size": 0}, "batch_size is 0"),
        ({"n": 1, "seed": -1}, "seed is -1; it must be between 0 and 4294967295"),
        ({"n": 1, "digit": 1, "guidance": float("nan")}, "guidance is nan"),
    ],
)
def test_mistakes_are_named(conditional, arguments, message):
    with pytest.raises(UserError, match=message):
        conditional.generate(**arguments)


def test_an_unconditional_model_says_so(unconditional):
    with pytest.raises(UserError, match="this model is unconditional"):
        unconditional.generate(1, digit=3)


def test_latents_of_another_shape_are_refused(unconditional):
    with pytest.raises(UserError, match=r"arrays \(n, 256\) with n at least 1; got \(2, 100\)"):
        unconditional.generate_from_latent(np.zeros((2, 100)))
    with pytest.raises(UserError, match="clips are mixed is 200; it must be between 1 and 199"):
        unconditional.z2w(np.zeros((2, 256)), interp_t=200)
    with pytest.raises(UserError, match="an interpolation has at least its 2 ends"):
        unconditional.interpolate(0, 1, 1)


@pytest.mark.usefixtures("unchecked")
def test_wrong_inputs_are_one_line(conditional):
    good, steps = np.zeros((2, 256), np.float32), np.array([3, 199])
    for inputs, message in [
        ((np.zeros((2, 100)), steps), r"arrays \(n, 256\) with n at least 1; got \(2, 100\)"),
        ((np.zeros(256), steps), r"got \(256,\)"),
        ((good, steps[:1]), r"a batch of 2 needs 2 diffusion steps t, shape \(2,\); got \(1,\)"),
        ((good, steps + 1), r"the diffusion steps must lie between 0 and 199; got \[  4 200\]"),
        ((good, steps, np.array([3, 11])), r"the labels must lie between 0 and 10; got \[ 3 11\]"),
        ((good, steps, np.array([0.5, 1.0])), r"needs 2 whole numbers as labels; got float32 \(2,\)"),
        ((good, steps, np.array([1])), r"needs 2 whole numbers as labels; got int32 \(1,\)"),
        ((good * 1j, steps), "the audio must be real numbers; got complex64"),
        (("a.wav", steps), "the audio must be an array of numbers; got str"),
    ]:
        with pytest.raises(UserError, match=message):
            conditional.predict_noise(*inputs)
    broken = good.copy()
    broken[0, 3:5] = np.nan, np.inf
    for make in (conditional.denoise, conditional.generate_from_latent, conditional.z2w, conditional.generate_from_w):
        with pytest.raises(UserError, match="2 samples are not finite numbers: give audio without NaN"):
            make(broken)
    with pytest.raises(UserError, match="it takes no labels"):
        tiny_generator().predict_noise(good, steps, np.array([1, 2]))
    with pytest.raises(UserError, match="seed is -1"):
        conditional.latents(1, seed=-1)
    with pytest.raises(UserError, match="n is 0"):
        conditional.latents(0)


def test_predicted_noise_can_be_differentiated_and_compiled(unconditional):
    x, t = jnp.ones((1, 256)), jnp.asarray([3])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(unconditional.predict_noise(x, t))))(x)
    assert gradient.shape == (1, 256) and np.all(np.isfinite(gradient)) and np.std(gradient) > 0


def test_a_model_can_be_pickled_and_copied():
    model = tiny_generator("sashimi", n_classes=10)
    expected = model.generate(2, steps=2)  # its programs and filters stay behind
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert twin.config == model.config and twin.config is not model.config
        np.testing.assert_array_equal(twin.generate(2, steps=2), expected)


def test_a_model_says_what_it_is():
    model = tiny_generator(n_classes=10, n_speakers=2)
    assert repr(model) == (
        f"<Generator: diffwave, {model.num_parameters:,} weights, clips of 0.03 s at 8000 Hz; classes zero, one, two, "
        f"three, four, five, six, seven, eight, nine; speakers speaker0, speaker1; fingerprint {model.fingerprint}>"
    )
    plain = tiny_generator("sashimi")
    assert repr(plain).startswith("<Generator: sashimi, ") and "classes" not in repr(plain)


def test_a_bar_on_request(unconditional, capsys):
    calls = []
    shown = unconditional.generate(3, steps=4, batch_size=2, progress=True, on_step=lambda *call: calls.append(call))
    said = capsys.readouterr()
    assert "3.0/3 clips" in said.err and said.out == "" and calls[-1] == (8, 8)
    assert "\r" not in said.err  # lines, where there is no terminal
    np.testing.assert_array_equal(shown, unconditional.generate(3, steps=4, batch_size=2))
    assert capsys.readouterr().err == ""


def test_a_classifier_makes_no_clips():
    config = tiny_generator().config
    config.train.task, config.model = "classification", model_section("classifier")
    with pytest.raises(UserError, match="a checkpoint of a classifier, which makes no clips"):
        Generator(config, {})


def test_settings_of_one_clip_for_all():
    settings = Settings(sampler="ddim", steps=1, digit=(3, 5), guidance=2.0)
    assert [settings.of_clip(1, 4).label_of(i, 10, 4) for i in range(9)] == [settings.label_of(1, 10, 4)] * 9
    assert FEW.of_clip(1, 4) == FEW
