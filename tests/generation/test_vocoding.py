"""Audio of mel spectrograms, by small vocoders of lmnt-com/diffwave and albertfgu/diffwave-sashimi."""

import dataclasses

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax import mel_match
from diffwave_jax.errors import UserError
from diffwave_jax.generation import diffusion_model, samplers, tiles, vocoding
from diffwave_jax.generation.batches import Job
from diffwave_jax.generation.chain import BEFORE, START, clip_keys, start_noise
from diffwave_jax.generation.diffusion_model import table
from diffwave_jax.generation.samplers import ChainState
from diffwave_jax.generation.settings import Settings
from tests.helpers.golden_vectors import golden, golden_vocoder
from tests.helpers.tiny import tiny_generator

LMNT, SASHIMI = "vocoder_lmnt_tiny", "vocoder_ag_sashimi_resume"


@pytest.fixture(scope="module")
def lmnt():
    return golden_vocoder(LMNT)


@pytest.fixture(scope="module")
def sashimi():
    return golden_vocoder(SASHIMI)


def mels(frames, n=2):
    return np.random.default_rng(0).uniform(0, 1, (n, 80, frames)).astype(np.float32)


def close(found, expected, atol):
    chex.assert_trees_all_close(np.asarray(found, np.float64), expected, atol=atol, rtol=0)


def test_lmnts_six_steps_with_its_noise(lmnt):
    vectors = golden(LMNT)
    table = samplers.plan(lmnt.diffusion, "fast", clamp=1.0)
    close(table.timestep, vectors["fast_steps"][::-1], 4e-6)  # (9e-7): float32 of up to 43 in the original
    state, mel = ChainState(vectors["sample_z"], np.zeros_like(vectors["sample_z"])), vectors["mel"][:2]
    for n in range(6):
        row = samplers.SamplerTable(*(jnp.float32(column[n]) for column in table))
        predicted = lmnt.predict_noise(state.x, jnp.full(2, row.timestep), mel=mel)
        noise = vectors["fast_noise"][5 - n] if n < 5 else np.zeros_like(state.x)
        state = samplers.step(row, state, predicted, noise)
        if n == 0:
            close(state.x, vectors["fast_after_first"], 5e-6)  # (8e-7)
    close(state.x, vectors["fast_x0"], 5e-6)  # (1e-6)


def test_other_samplers_are_not_clamped(lmnt):
    assert np.all(samplers.plan(lmnt.diffusion, "fast", clamp=1.0).limit == 1)
    for sampler in ("ddim", "dpm++"):
        assert np.all(np.isinf(samplers.plan(lmnt.diffusion, sampler, clamp=1.0).limit))


@pytest.mark.parametrize("tag", [LMNT, SASHIMI])
def test_padding_changes_nothing(tag, monkeypatch):
    model, mel = golden_vocoder(tag), mels(9) - (3 if tag == SASHIMI else 0)
    padded = model.vocode(mel, seed=3, steps=3, sampler="ddim")  # which no clamp makes alike
    assert padded.shape == (2, 9 * 256) and vocoding.bucket(9) == 16
    monkeypatch.setattr(vocoding, "bucket", lambda frames: frames)
    # A network's rounding differs by length; the noise of a clip is the same at any length.
    alone = golden_vocoder(tag).vocode(mel, seed=3, steps=3, sampler="ddim")
    close(alone / np.abs(alone).max(), padded / np.abs(alone).max(), 1e-5)


def test_tiles_change_nothing(monkeypatch):
    mel = mels(61)
    whole = golden_vocoder(LMNT).vocode(mel, seed=3, steps=3, sampler="ddim")
    monkeypatch.setattr(tiles, "FRAMES", 16)
    monkeypatch.setattr(tiles, "HALOS", 1)
    tiled = golden_vocoder(LMNT)
    assert vocoding.tiling(tiled.config) == tiles.Tiling(16, 3)
    found = tiled.vocode(mel, seed=3, steps=3, sampler="ddim")
    close(found / np.abs(whole).max(), whole / np.abs(whole).max(), 1e-5)  # sums in another order


def test_a_clip_depends_on_its_mel_alone(lmnt):
    mel = mels(5)
    np.testing.assert_allclose(lmnt.vocode(mel[:1], seed=1)[0], lmnt.vocode(mel, seed=1)[0], atol=1e-6)
    assert np.abs(lmnt.vocode(mel[1:], seed=1)[0] - lmnt.vocode(mel, seed=1)[0]).max() > 1e-2


def test_any_sampler_and_its_progress(lmnt):
    seen = []
    audio = lmnt.vocode(mels(4)[0], steps=3, sampler="dpm++", on_step=lambda *now: seen.append(now))
    assert audio.shape == (1, 1024) and np.all(np.isfinite(audio))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_its_audio_is_pulled_to_the_mel(lmnt):
    mel, front_end = mels(5), vocoding.front_end(lmnt.config)
    plain, matched = (lmnt.vocode(mel, seed=1, steps=2, match=rounds) for rounds in (None, 4))
    assert front_end.distance(front_end(matched[:, :-1]), mel) < 0.7 * front_end.distance(front_end(plain[:, :-1]), mel)
    alone = lmnt.vocode(mel[:1], seed=1, steps=2, match=4)
    np.testing.assert_allclose(alone, matched[:1], rtol=0, atol=1e-6 * np.abs(matched).max())  # as without, above


def test_matching_before_the_chain_and_after_each_step(lmnt):
    mel, front_end, scale = mels(5), vocoding.front_end(lmnt.config), 2.0
    rows = table(lmnt.diffusion, Settings.for_model(lmnt.config, sampler="ddim", steps=2), lmnt.config)
    plain = Job(rows, range(2), 3, np.arange(2), 8 * front_end.hop, condition=vocoding.padded(mel))
    job = vocoding.matching(plain, front_end, mel, 4, scale)
    keys = clip_keys(3, np.arange(2))
    noise = [np.asarray(start_noise(keys, 8 * front_end.hop, purpose)) for purpose in (BEFORE, START)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.08  # of 4,096 independent pairs: 5 / sqrt(n)
    heard = 5 * front_end.hop
    first = mel_match.match(front_end, vocoding.START_RMS * noise[0][:, :heard], mel, 4)
    start = rows.signal[0] * scale * first + rows.noise_level[0] * noise[1][:, :heard]
    close(job.start[:, :heard], start, 1e-6)  # float32 beside numbers of order 1
    pulled = job.correct(scale * noise[0][1:], np.array([1]))
    np.testing.assert_array_equal(pulled[:, heard:], scale * noise[0][1:, heard:])  # beyond the mel nothing changes
    close(pulled[:, :heard] / scale, mel_match.match(front_end, noise[0][1:, :heard], mel[1:], 4), 1e-6)
    assert plain.start is None and plain.correct is None
    longer = vocoding.matching(dataclasses.replace(plain, length=12 * front_end.hop), front_end, mel, 4, scale)
    np.testing.assert_array_equal(
        longer.start[:, : 8 * front_end.hop], job.start
    )  # the noise is the same at any length


def test_programs_for_the_last_few_lengths_are_kept(sashimi, monkeypatch):
    monkeypatch.setattr(sashimi, "_chains", {})
    monkeypatch.setattr(diffusion_model, "KEPT_SAMPLES", 24 * 256 + 32 * 256)
    first = sashimi._chain_for(24 * 256)
    second = sashimi._chain_for(32 * 256)
    assert sashimi._chain_for(24 * 256) is first and sashimi._chain_for(32 * 256) is second
    third = sashimi._chain_for(16 * 256)  # room for two of the three: the one used longest ago goes
    assert sashimi._chains == {(32 * 256, 0): second, (16 * 256, 0): third}
    sashimi._chain_for(64 * 256)
    assert list(sashimi._chains) == [(64 * 256, 0)]  # the last one stays, however long


def test_mel_of_audio_at_any_rate(lmnt):
    seconds = np.arange(8000) / 8000
    mel = lmnt.mel(np.sin(2 * np.pi * 440 * seconds).astype(np.float32), 8000)
    assert mel.shape == (80, 1 + 22050 // 256)
    band = np.argmax(mel.mean(axis=1))
    weights = vocoding.front_end(lmnt.config).filters[band]
    assert abs(np.argmax(weights) * 22050 / 1024 - 440) < 40  # a bin is 21.5 Hz wide, a band here twice that


def test_buckets():
    sizes = {vocoding.bucket(frames) for frames in range(1, 1000)}
    assert sorted(sizes) == [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda model: model.generate(1), r"this model is a vocoder.*80 bands; use vocode, or sample.py --vocode"),
        (lambda model: model.z2w(model.latents(1)), "this model is a vocoder"),
        (lambda model: model.predict_noise(np.zeros((1, 256)), np.zeros(1)), r"give it mel spectrograms \(B, 80"),
        (
            lambda model: model.predict_noise(np.zeros((1, 300)), np.zeros(1), mel=np.zeros((1, 80, 1))),
            "L from 1 to 256",
        ),
        (lambda model: model.predict_noise(np.zeros((1, 9)), np.zeros(1), mel=np.zeros((1, 9, 1))), r"got \(1, 9, 1\)"),
        (lambda model: model.vocode(np.zeros((1, 40, 3))), r"takes mels \(80, frames\)"),
        (lambda model: model.vocode(np.full((80, 3), -2.0)), "between -2 and -2"),
        (lambda model: model.vocode(np.full((80, 3), np.nan)), "240 values of the mel"),
        (lambda model: model.mel(np.zeros(100), 0), "the sample rate is 0; give whole Hz"),
        (lambda model: model.mel(np.zeros(0), 8000), r"got float64 \(0,\)"),
        (lambda model: model.mel(np.full(9, np.inf), 8000), "9 samples are not finite"),
    ],
)
def test_wrong_calls(lmnt, call, match):
    with pytest.raises(UserError, match=match):
        call(lmnt)


def test_a_model_that_is_no_vocoder():
    model = tiny_generator()
    with pytest.raises(UserError, match="this model is no vocoder"):
        model.vocode(mels(3))
    with pytest.raises(UserError, match="this model is no vocoder"):
        model.mel(np.zeros(300), 8000)
    with pytest.raises(UserError, match="is no vocoder"):
        model.predict_noise(np.zeros((1, 256)), np.zeros(1), mel=np.zeros((1, 80, 1)))


def test_a_front_end_that_does_not_fit(lmnt):
    config = lmnt.config.copy_and_resolve_references()
    config.mel.hop = 128
    with pytest.raises(UserError, match=r"mel\.hop is 128, but model.upsample makes 256"):
        vocoding.front_end(config)
