"""Training to predict tokens: what is fed and counted, on any number of devices, and through interruptions."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import soundfile
from flax import nnx

from diffwave_jax.config import default_config, model_section
from diffwave_jax.data import open_dataset
from diffwave_jax.errors import UserError
from diffwave_jax.training import plateau
from diffwave_jax.training.loop import Run
from diffwave_jax.training.optimizer import decays, is_state, make_optimizer
from diffwave_jax.training.tasks import make_task
from tests.helpers.runs import Job, Recorder, saved, tiny_config

GOLDEN = Path(__file__).parents[1] / "golden" / "ar_data.npz"
STEPS = 12
# Float32 sums in another order differ by about 1e-7; a few steps of Adam must not let that grow.
SAME = 1e-6


@pytest.fixture(scope="module")
def golden():
    """Recordings and what the originals' data loaders make of them."""
    return dict(np.load(GOLDEN))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """A folder of clips from 60 to 256 samples long, four of them for validation."""
    folder = tmp_path_factory.mktemp("uneven") / "clips"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(20):
        noise = random.standard_normal(60 + 10 * i).cumsum()
        soundfile.write(folder / f"{i}.wav", 0.02 * noise, 8000, subtype="FLOAT")
    (folder / "validation_list.txt").write_text("".join(f"{i}.wav\n" for i in range(0, 20, 5)))
    (folder / "testing_list.txt").write_text("")
    return folder


def _config(clips, **train):
    train = {"task": "autoregression", "schedule": "plateau", "state_learning_rate": 5e-4, **train}
    return tiny_config(clips, "sashimi_ar", num_steps=STEPS, validate_every=2, patience=0, **train)


def _task(length, code, **train):
    config = default_config()
    config.model = model_section("sashimi_ar", length=length, l_max=length, d_model=4, n_layers=1, pool=(4,), code=code)
    config.data.length = length + (not train.get("start_token", True))
    config.train.update(task="autoregression", **train)
    return make_task(config)


def _examples(task, clips, length):
    """Inputs, targets and what counts, of int16 clips filled up to `length`."""
    audio = np.stack([np.pad(clip, (0, length - len(clip))) for clip in clips]) / np.float32(32768)
    recorded = np.array([len(clip) for clip in clips], np.int32)
    batch = task.prepare({"audio": audio, "recorded": recorded, "label": np.zeros(len(clips), np.int32)})
    return [np.asarray(part) for part in task.examples(jnp.asarray(batch["tokens"]), jnp.asarray(recorded))]


def test_shorter_clips_are_fed_and_counted_as_state_spaces_does(golden):
    task = _task(1024, "scaled_mu_law")
    inputs, targets, counts = _examples(task, [golden[f"sc09_clip{i}"] for i in range(4)], 1024)
    counted = golden["sc09_y"] != -100
    np.testing.assert_array_equal(counts.astype(bool), counted)
    np.testing.assert_array_equal(targets[counted], golden["sc09_y"][counted])
    np.testing.assert_array_equal(inputs[counted], golden["sc09_x"][counted])


def test_padding_is_predicted_as_rf5_does(golden):
    task = _task(1000, "mu_law", start_token=False, count_padding=True)
    inputs, targets, counts = _examples(task, [golden[f"sc09_clip{i}"] for i in range(4)], 1001)
    np.testing.assert_array_equal(inputs, golden["rf5_x"])
    np.testing.assert_array_equal(targets, golden["rf5_y"])
    assert counts.all()


def _our_name(file, start):
    """Of a window of 512 samples that starts there."""
    return f"{file}#{int(start) // 512}" if int(start) else file


@pytest.mark.parametrize("code", ["mulaw", "linear"])
def test_long_files_become_windows_as_in_state_spaces(golden, tmp_path, code):
    songs = ["song1", "song2", "song10"]
    for song in songs:
        soundfile.write(tmp_path / f"{song}.wav", golden[f"music_{song}"], 8000, subtype="PCM_16")
    (tmp_path / "testing_list.txt").write_text("")
    data = {"source": "folder", "archive": str(tmp_path), "data_dir": str(tmp_path / "prepared")}
    dataset = open_dataset({**data, "sample_rate": 8000, "length": 512, "windows": True})
    names = [dataset.clip(index)["name"] for index in range(len(dataset))]
    expected = [str(name) for name in golden["music_windows"]]
    order = [names.index(_our_name(*name.split(":"))) for name in expected]
    assert len(names) == len(expected)
    clips = [np.asarray(dataset.clip(index)["audio"]) for index in order]
    found = _examples(_task(512, f"scaled_{'mu_law' if code == 'mulaw' else 'linear'}"), clips, 512)
    np.testing.assert_array_equal(found[0], golden[f"music_{code}_x"])
    np.testing.assert_array_equal(found[1], golden[f"music_{code}_y"])
    assert found[2].all() and dataset.read([0])["recorded"] == 512


def test_music_is_split_in_the_order_of_its_numbers(tmp_path):
    for number in range(1, 21):
        soundfile.write(tmp_path / f"song{number}.wav", np.full(40, number / 32768), 8000, subtype="PCM_16")
    data = {"source": "folder", "archive": str(tmp_path), "data_dir": str(tmp_path / "prepared")}
    data |= {"sample_rate": 8000, "length": 16, "windows": True}

    def songs(split):
        dataset = open_dataset(data, split)
        return [int(dataset.clip(i)["audio"][0]) for i in range(len(dataset))]

    assert {split: sorted(songs(split)) for split in ("validation", "test")} == {
        "validation": [18, 18],  # two windows a file, their 8 last samples dropped
        "test": [19, 19, 20, 20],
    }
    assert sorted(set(songs("train"))) == list(range(1, 18))


def test_the_loss_is_a_mean_over_what_counts(uneven):
    """Cross entropy of each counted token, whatever stands in the padding."""
    config = _config(uneven)
    task = make_task(config)
    network = nnx.jit(lambda: task.build(nnx.Rngs(0)))()
    random = np.random.default_rng(0)
    batch = {
        "tokens": random.integers(0, 256, (3, 256)).astype(np.int32),
        "recorded": np.array([256, 10, 100], np.int32),
    }
    loss, metrics = nnx.jit(task.validation_loss)(network, jax.tree.map(jnp.asarray, batch), jax.random.key(0))
    inputs = np.concatenate([np.full((3, 1), 128), batch["tokens"][:, :-1]], axis=1)
    log_p = np.asarray(jax.nn.log_softmax(nnx.jit(network)(inputs)), np.float64)
    chosen = np.take_along_axis(log_p, batch["tokens"][..., None], axis=2)[..., 0]
    total = -sum(chosen[row, :length].sum() for row, length in enumerate(batch["recorded"]))
    np.testing.assert_allclose(metrics["loss"], (total, 366), rtol=1e-5)  # float32 sums
    np.testing.assert_allclose(metrics["bits"], (total / np.log(2), 366), rtol=1e-5)
    np.testing.assert_allclose(loss, total / 768, rtol=1e-5)


@pytest.fixture(scope="module")
def one_device(uneven, tmp_path_factory):
    """The values on one device, and what was saved."""
    workdir, recorder = tmp_path_factory.mktemp("one") / "run", Recorder()
    Run(_config(uneven), workdir, [recorder]).train()
    return recorder.values, saved(workdir)


def test_two_devices_with_micro_batches_give_the_losses_of_one(uneven, processes, one_device, tmp_path):
    """Clips of unequal lengths: each token weighs the same wherever its clip lies."""
    [(_, recorder)] = processes.train(Job(_config(uneven, accumulate=2), tmp_path / "run", devices=2))
    for step in range(1, STEPS + 1):
        found, expected = recorder.values[step], one_device[0][step]
        assert found["counted"] == expected["counted"] < 1
        assert found["loss"] == pytest.approx(expected["loss"], rel=SAME)
        # A norm of sums that cancel in part.
        assert found["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-4)


def test_an_interrupted_run_ends_with_the_same_bits(uneven, one_device, tmp_path):
    """The plateau's state among them, whose learning rate has dropped by then."""
    first = _config(uneven)
    first.train.num_steps = 7
    Run(first, tmp_path / "run").train()
    Run(_config(uneven), tmp_path / "run", [recorder := Recorder()]).train()
    assert recorder.messages == ["continuing from step 7"]
    found, expected = saved(tmp_path / "run"), one_device[1]
    assert found.keys() == expected.keys() and any("worse" in name for name in found)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_the_learning_rate_drops_as_pytorchs_does():
    """ReduceLROnPlateau, patience 2, factor 0.5: at the third validation without an improvement of 1e-4."""
    optimizer = (optax.EmptyState(), plateau.initial())
    factors = []
    for loss in (1.0, 0.9, 0.9, 0.89999, 0.95, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8):
        optimizer = plateau.validated(optimizer, jnp.float32(loss), patience=2, drop=0.5)
        factors.append(plateau.factor(optimizer))
    assert factors == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_groups_of_weights(uneven):
    """Decay is decoupled and spares state spaces, inner biases and norms; state spaces have their own rate."""
    train = _config(uneven, learning_rate=1e-2, state_learning_rate=1e-3, weight_decay=0.1, warmup_steps=0).train
    train.clip_norm = 0.0
    plain, decayed = -1e-2, -1e-2 * (1 + 0.1 * 3)
    expected = {
        "center.0.s4.kernel.log_dt": -1e-3,
        "center.0.s4.kernel.C": decayed,
        "center.0.s4.D": decayed,
        "center.0.norm.shift": plain,
        "center.0.s4.output.bias": plain,
        "center.0.s4.output.kernel": decayed,
        "norm.bias": decayed,
        "head.bias": decayed,
        "head.kernel": decayed,
    }
    params = {name: jnp.float32(3) for name in expected}
    optimizer = make_optimizer(train)
    updates, _ = optimizer.update({name: jnp.float32(1) for name in expected}, optimizer.init(params), params)
    # Adam's first step is 1 but for float32's rounding of 1 - 0.999.
    assert updates == pytest.approx(expected, rel=1e-5)


def test_which_weights_are_state_spaces(uneven):
    network = nnx.eval_shape(lambda: make_task(_config(uneven)).build(nnx.Rngs(0)))
    names = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(network, nnx.Param))]
    state = {name.rpartition(".")[2] for name in names if is_state(name)}
    assert state == {"log_dt", "log_w_real", "w_imag", "B", "P"}
    assert not any(name.endswith(("output.kernel", "ff1.kernel")) and not decays(name) for name in names)


def test_clips_in_the_log(uneven, tmp_path):
    config = _config(uneven, sample_every=2)
    config.train.num_steps = 2
    Run(config, tmp_path / "run", [recorder := Recorder()]).train()
    audio, rate = recorder.audio[2]
    assert audio.shape == (4, 256) and rate == 8000 and np.abs(audio).max() <= 1


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("data", {"length": 240}, "data.length is 240; it must be 256 for model.length 256 with train.start_token"),
        ("train", {"start_token": False}, "data.length is 256; it must be 257"),
        ("train", {"validate_every": 0}, "train.schedule is plateau, but train.validate_every is 0"),
        ("train", {"learning_rate": 0.0}, "train.state_learning_rate is 0.0005, but train.learning_rate is 0"),
        ("data", {"windows": True, "trim_db": 3.0}, "data.trim_db is 3.0; it must be 0 where files are cut"),
    ],
    ids=lambda value: str(value),
)
def test_mistakes(uneven, tmp_path, section, fields, message):
    config = _config(uneven)
    config[section].update(fields)
    with pytest.raises(UserError, match=re.escape(message)):
        Run(config, tmp_path)


def test_a_network_of_another_kind(uneven):
    with pytest.raises(UserError, match=r"is autoregression but model.name is 'sashimi': set sashimi_ar"):
        make_task(tiny_config(uneven, "sashimi", task="autoregression"))
    with pytest.raises(UserError, match=r"is diffusion but model.name is 'sashimi_ar'"):
        make_task(tiny_config(uneven, "sashimi_ar"))
