"""Vocoders of three originals: recognised, converted in both directions, and what they compute."""

import dataclasses
import functools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from diffwave_jax import load
from diffwave_jax.config_check import check_config
from diffwave_jax.convert import mapping
from diffwave_jax.convert.commands import convert_from_torch, convert_to_torch, describe
from diffwave_jax.convert.from_torch import read_torch
from diffwave_jax.convert.infer import Told, layout_of
from diffwave_jax.convert.original_config import GU, PHILSYN, OriginalConfig
from diffwave_jax.convert.original_config import LMNT as LMNT_CODE
from diffwave_jax.convert.ours import config_of
from diffwave_jax.convert.to_torch import write_torch
from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation import samplers
from diffwave_jax.generation.generator import Generator
from diffwave_jax.models import build, model_config, weights
from diffwave_jax.models.conditioner import Condition
from diffwave_jax.training.optimizer import make_optimizer, resumed_adam
from tests.helpers.torch_files import golden_folder, random_contents

SCHEDULE = {"diffusion": {"num_steps": 50, "beta_min": 1e-4, "beta_max": 0.05}}
LMNT = {
    "name": "diffwave",
    "channels": 4,
    "n_layers": 2,
    "dilation_cycle": 2,
    "length": 15872,
    "weight_norm": False,
    "step_in_residual": False,
    "step_table": 50,
    "step_widths": (128, 6, 6),
}
GATED = {"name": "diffwave", "channels": 4, "n_layers": 2, "dilation_cycle": 2, "length": 16000, "n_mels": 80}
SASHIMI = {
    "name": "sashimi",
    "version": 2,
    "d_model": 4,
    "n_layers": 1,
    "pool": (4, 2),
    "l_max": (64, 16, 8),
    "d_state": 8,
    "length": 64,
    "step_widths": (128, 6, 6),
}
MODELS = {
    "lmnt": LMNT | {"n_mels": 80, "shared_upsampler": True},
    "lmnt, unconditional": LMNT,
    "philsyn": GATED | {"step_widths": (64, 256, 320)},
    "gu": GATED | {"skip_channels": 6, "step_in_residual": False},
    "gu, odd factors": GATED | {"upsample": (5, 3), "step_in_residual": False},
    "gu sashimi": SASHIMI | {"n_mels": 80, "crop_condition": True},
    "gu sashimi, unconditional": SASHIMI,
    "gu sashimi, no unet": SASHIMI | {"unet": False},
}
SCHEDULE_JSON = {"T": 50, "beta_0": 1e-4, "beta_T": 0.05}
CONFIGS = {
    "philsyn": {"wavenet_config": {"dilation_cycle": 2}, "diffusion_config": SCHEDULE_JSON},
    "gu": {"model": {"_name_": "wavenet", "dilation_cycle": 2}, "diffusion": SCHEDULE_JSON},
    "lmnt": {},  # the file holds its own
}


def config_file(folder, name):
    path = folder / "config.json"
    path.write_text(json.dumps(CONFIGS[name.split(",")[0].split(" ")[0]]))
    return path


def contents_of(name, **options):
    model = MODELS[name]
    sections = SCHEDULE | {"data": {"sample_rate": 22050}}
    if model.get("n_mels"):
        hop = int(np.prod(model.get("upsample", (16, 16))))
        sections |= {"mel": {"kind": "lmnt" if "lmnt" in name else "tacotron", "hop": hop}}
    return dataclasses.replace(random_contents(model, **options), sections=sections)


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_changes_no_bit(tmp_path, name):
    contents, file = contents_of(name), tmp_path / "7.pt"
    write_torch(file, contents)
    back = read_torch(file, config=config_file(tmp_path, name))
    assert model_config(back.model) == model_config(contents.model)
    chex.assert_trees_all_equal(dict(back.weights), dict(contents.weights))
    chex.assert_trees_all_equal((back.adam.mu, back.adam.nu), (contents.adam.mu, contents.adam.nu))
    assert (back.step, back.learning_rate, back.adam.count) == (7, 2e-4, 7)
    assert back.sections["diffusion"] == SCHEDULE["diffusion"]
    assert "mel" not in back.sections or back.sections["mel"]["hop"] == contents.sections["mel"]["hop"]
    check_config(config_of(back))
    write_torch(tmp_path / "again.pt", back)
    first, second = (torch.load(path, weights_only=True) for path in (file, tmp_path / "again.pt"))
    key = "model" if "lmnt" in name else "model_state_dict"
    torch.testing.assert_close(second[key], first[key], rtol=0, atol=0)


def test_what_they_are_called(tmp_path):
    said = {}
    for name in ("lmnt", "philsyn", "gu", "gu sashimi", "lmnt, unconditional"):
        write_torch(tmp_path / "x.pt", contents_of(name))
        said[name] = describe(read_torch(tmp_path / "x.pt", config=config_file(tmp_path, name)))[0].split(",")[0]
    assert said == {
        "lmnt": "DiffWave vocoder of lmnt-com/diffwave",
        "philsyn": "DiffWave vocoder of philsyn/DiffWave-Vocoder",
        "gu": "DiffWave vocoder of albertfgu/diffwave-sashimi",
        "gu sashimi": "SaShiMi vocoder of albertfgu/diffwave-sashimi",
        "lmnt, unconditional": "DiffWave of lmnt-com/diffwave",
    }


def test_a_converted_run_vocodes_and_goes_back(tmp_path):
    write_torch(tmp_path / "weights-7.pt", contents_of("lmnt"))
    convert_from_torch(tmp_path / "weights-7.pt", tmp_path / "run")
    model = load(tmp_path / "run")
    assert (model.config.mel.kind, model.config.sample.sampler, model.config.sample.clamp) == ("lmnt", "fast", 1.0)
    assert (model.config.train.loss, model.sample_rate, model.config.model.length) == ("l1", 22050, 15872)
    assert model.predict_noise(jnp.zeros((1, 256)), jnp.zeros(1), mel=jnp.zeros((1, 80, 1))).shape == (1, 256)
    convert_to_torch(tmp_path / "run", tmp_path / "back.pt")
    saved = torch.load(tmp_path / "back.pt", weights_only=True)
    assert set(saved) == {"step", "model", "optimizer", "params", "scaler"}
    params = saved["params"]
    assert (params["residual_layers"], params["crop_mel_frames"], params["unconditional"]) == (2, 62, False)
    assert (params["sample_rate"], params["hop_samples"], params["n_fft"]) == (22050, 256, 1024)
    np.testing.assert_allclose(params["noise_schedule"], np.linspace(1e-4, 0.05, 50))


def test_the_folders_name_tells_the_schedule_and_the_original(tmp_path):
    folder = tmp_path / "ch4_T200_betaT0.02" / "logs" / "checkpoint"
    folder.mkdir(parents=True)
    write_torch(folder / "1000000.pkl", contents_of("philsyn"))
    found = read_torch(folder / "1000000.pkl", dilation_cycle=2)
    assert found.sections["diffusion"] == {"num_steps": 200, "beta_min": 1e-4, "beta_max": 0.02}
    assert found.model.get("step_in_residual", True)


def test_lengths_of_kernels_come_with_the_file(tmp_path):
    write_torch(tmp_path / "x.pt", contents_of("gu sashimi"))
    saved = torch.load(tmp_path / "x.pt", weights_only=True)
    state = saved["model_state_dict"]
    lengths = {name: value.item() for name, value in state.items() if name.endswith(".L")}
    assert set(lengths.values()) == {64, 16, 8} and state["d_layers.0.layer.kernel.kernel.L"].dtype == torch.int64
    state["c_layers.0.layer.kernel.kernel.L"] *= 0
    torch.save(saved, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"c_layers.0.layer.kernel.kernel.L is 0: the network never ran"):
        read_torch(tmp_path / "x.pt", config=config_file(tmp_path, "gu"))


@pytest.mark.parametrize(
    ("name", "config", "match"),
    [
        ("philsyn", None, r"vocoder of 2 layers: .* give its own configuration by --config"),
        ("philsyn", {"wavenet_config": {"dilation_cycle": 2}}, "how many diffusion steps"),
        ("philsyn", {"wavenet_config": {"dilation_cycle": "two"}}, "dilation_cycle 'two', no number"),
        ("philsyn", {"wavenet_config": {"dilation_cycle": 2}, "diffusion_config": {"T": 1.5}}, r"T 1.5, no whole"),
        ("gu sashimi", None, "how many diffusion steps"),
        ("gu sashimi", "not JSON", "is not JSON"),
        ("gu sashimi", "[]", "holds no settings"),
    ],
)
def test_what_the_file_does_not_say(tmp_path, name, config, match):
    write_torch(tmp_path / "x.pt", contents_of(name))
    path = None
    if config is not None:
        path = tmp_path / "config.json"
        path.write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(UserError, match=match):
        read_torch(tmp_path / "x.pt", config=path, dilation_cycle=None if isinstance(config, dict) else 2)


@pytest.mark.parametrize("schedule", [[1e-4, 1e-3, 1e-2], [0.1, 2.0], "linear"])
def test_schedules_that_are_not_linear(tmp_path, schedule):
    write_torch(tmp_path / "x.pt", contents_of("lmnt"))
    saved = torch.load(tmp_path / "x.pt", weights_only=True)
    saved["params"]["noise_schedule"] = schedule
    torch.save(saved, tmp_path / "x.pt")
    with pytest.raises(UserError, match="noise_schedule"):
        read_torch(tmp_path / "x.pt")


@pytest.mark.parametrize("change", [{"shared_upsampler": True}, {"step_table": 50}, {"n_classes": 3}])
def test_what_no_original_has(tmp_path, change):
    with pytest.raises(UserError, match=r"no original has|no class-conditional"):
        write_torch(tmp_path / "x.pt", dataclasses.replace(contents_of("gu"), model=MODELS["gu"] | change))


def test_lmnts_network_of_others_does_not_say_its_mels(tmp_path):
    write_torch(tmp_path / "x.pt", contents_of("lmnt"))
    torch.save(torch.load(tmp_path / "x.pt", weights_only=True)["model"], tmp_path / "bare.pt")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SCHEDULE_JSON))
    with pytest.raises(UserError, match="nothing says which mels it takes; give --config"):
        read_torch(tmp_path / "bare.pt", config=config, dilation_cycle=2)
    config.write_text(json.dumps(SCHEDULE_JSON | {"mel_kind": "tacotron"}))
    assert read_torch(tmp_path / "bare.pt", config=config, dilation_cycle=2).sections["mel"]["fmax"] == 8000


def test_lmnts_gates_and_skips_find_their_places():
    by_name = {tensor.torch_name: tensor for tensor in mapping.tensors(MODELS["lmnt"])}
    dilated = np.arange(8 * 4 * 3).reshape(8, 4, 3)  # (out, in, tap): theirs begins with the sigmoid's half
    kernel = by_name["residual_layers.0.dilated_conv.weight"].to_ours(dilated)["blocks.0.dilated.kernel"]
    np.testing.assert_array_equal(kernel[2, 3], np.roll(dilated[:, 3, 2], 4))
    both = by_name["residual_layers.1.output_projection.bias"].to_ours(np.arange(8))
    np.testing.assert_array_equal(both["blocks.1.residual.bias"], np.arange(4))
    np.testing.assert_array_equal(both["blocks.1.skip.bias"], np.arange(4, 8))


FOLDER = golden_folder() / "vocoder" if golden_folder() else None
golden = pytest.mark.skipif(FOLDER is None, reason="the reference results are not beside the project")
CHAINS = ["lmnt_tiny", "lmnt_uncond_tiny", "philsyn_tiny", "ag_wavenet_tiny", "ag_sashimi_resume"]
OTHERS = ["ag_sashimi_tiny", "ag_sashimi_uncond_tiny"]


def bound(tag, of_diffwave=5e-6, of_sashimi=5e-5):
    """The project's requirement; the originals' own float32 is off by as much or more."""
    return of_sashimi if "sashimi" in tag else of_diffwave


@functools.cache
def golden_contents(tag):
    file = next(path for path in FOLDER.glob(f"{tag}.p*") if path.suffix in (".pt", ".pkl"))
    return read_torch(file, config=None if tag.startswith("lmnt") else FOLDER / f"{tag}.json")


@functools.cache
def golden_model(tag):
    contents = golden_contents(tag)
    return Generator(config_of(contents), contents.weights)


@functools.cache
def vectors_of(tag):
    with np.load(FOLDER / f"{tag}.npz") as arrays:
        return dict(arrays)


def mel_of(vectors, name="mel", clips=None):
    return {"mel": vectors[name][:clips]} if name in vectors else {}


@golden
@pytest.mark.parametrize("tag", CHAINS + OTHERS)
def test_golden_output(tag):
    model, vectors = golden_model(tag), vectors_of(tag)
    inputs = [("x", "t", "mel", "y"), ("x", "t_fractional", "mel", "y_fractional")]
    for x, t, mel, y in [names for names in inputs if names[1] in vectors]:
        given = mel_of(vectors, mel) if model.config.model.n_mels else {}
        found = predict(model, vectors[x], vectors[t], given)
        chex.assert_trees_all_close(found, vectors[y], rtol=0, atol=bound(tag))


def predict(model, x, t, given):
    """Clips of another length than the config's are for vocoders only."""
    if not given and x.shape[1] != model.length:
        network = weights.merge(model._graph, model._params)
        return np.asarray(network(jnp.asarray(x, jnp.float32), jnp.asarray(t)), np.float64)
    return np.asarray(model.predict_noise(x, t, **given), np.float64)


@golden
@pytest.mark.parametrize(
    ("tag", "kind"),
    [("lmnt_tiny", "fast"), ("lmnt_tiny", "full"), ("philsyn_tiny", "fast")]
    + [(tag, "sample") for tag in ("philsyn_tiny", "ag_wavenet_tiny", "ag_sashimi_resume")],
)
def test_golden_chain(tag, kind):
    """Whole chains with the originals' noise."""
    model, vectors = golden_model(tag), vectors_of(tag)
    diffusion = Diffusion.linear(8, 1e-4, 0.05) if kind == "sample" else model.diffusion
    clamp = 1.0 if "lmnt" in tag else 0.0
    table = samplers.plan(diffusion, "fast" if kind == "fast" else "ddpm", clamp=clamp)
    x = vectors["full_z" if kind == "full" else "sample_z"]
    given = mel_of(vectors, "full_mel" if kind == "full" else "mel", len(x))
    noise, rows = vectors[f"{kind}_noise"], len(table.timestep)
    state = samplers.ChainState(x, np.zeros_like(x))
    for n in range(rows):
        row = samplers.SamplerTable(*(np.float32(column[n]) for column in table))
        predicted = model.predict_noise(state.x, np.full(len(x), row.timestep), **given)
        state = samplers.step(row, state, predicted, noise[rows - 1 - n] if n < rows - 1 else np.zeros_like(x))
    expected = vectors["full_x0" if kind == "full" else f"{kind}_x0"]
    chex.assert_trees_all_close(np.asarray(state.x, np.float64), expected, rtol=0, atol=bound(tag, 1e-5, 1e-4))


@golden
@pytest.mark.parametrize("tag", [*CHAINS[:-1], pytest.param(CHAINS[-1], marks=pytest.mark.torture)])
def test_golden_training_goes_on(tag):
    contents, vectors = golden_contents(tag), vectors_of(tag)
    config = config_of(contents)
    graph, _ = weights.abstract(lambda rngs: build(config.model, rngs=rngs))
    diffusion, optimizer = Diffusion.from_config(config.diffusion), make_optimizer(config.train)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": "0"})  # compiling takes longest
    def step(params, state, x0, t, noise, mel):
        def loss(params):
            network = weights.merge(graph, params)
            told = None if mel is None else Condition(jnp.swapaxes(mel, 1, 2))
            heard = {} if told is None else {"condition": network.condition(told, x0.shape[1])}
            return jnp.mean(diffusion.loss(lambda x, t: network(x, t, **heard), x0, t, noise, config.train.loss))

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    params, adam = contents.weights, contents.adam
    state, losses = resumed_adam(config.train, params, adam.mu, adam.nu, adam.count), []
    for n in range(len(vectors["resume_loss"])):
        batch = [vectors[f"resume_{name}"][n] for name in ("x0", "t", "noise")]
        mel = vectors["resume_mel"][n] if contents.model.get("n_mels") else None
        params, state, value = step(params, state, *batch, mel)
        losses.append(float(value))
    chex.assert_trees_all_close(np.array(losses), vectors["resume_loss"], rtol=0, atol=bound(tag, 2e-6, 2e-5))
    with np.load(FOLDER / f"{tag}_resumed_params.npz") as truth:
        for tensor in mapping.tensors(contents.model):
            if not tensor.l_max:
                for name, expected in tensor.to_ours(truth[tensor.torch_name]).items():
                    # Of w_imag, up to 1300, float32 keeps 1e-4.
                    atol = 4e-4 if name.endswith("w_imag") else 1e-5
                    chex.assert_trees_all_close(np.asarray(params[name]), expected, rtol=0, atol=atol)


@golden
def test_names_shapes_and_order_of_the_full_size_files():
    manifest = json.loads((FOLDER / "vocoder_manifest.json").read_text())
    systems = {"lmnt": LMNT_CODE, "philsyn": PHILSYN, "ag": GU}
    for entry, expected in manifest.items():
        shapes = {name: tuple(shape) for name, shape in expected["tensors"].items()}
        original = OriginalConfig(SCHEDULE_JSON, systems[entry.split("_")[0]])
        model = layout_of(shapes).model(shapes, Told(kernel_lengths=expected["buffers"], original=original))
        found = [(tensor.torch_name, tensor.torch_shape) for tensor in mapping.tensors(model)]
        assert found == list(shapes.items()), entry
        assert sum(np.prod(shape) for shape in mapping.weight_shapes(model).values()) == expected["parameters"]
