import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from diffwave_jax.config import default_config, model_section
from diffwave_jax.errors import UserError
from diffwave_jax.models import weights
from diffwave_jax.training import classification
from diffwave_jax.training.tasks import make_task

RATE, LENGTH = 8000, 1600


def small_config():
    config = default_config()
    config.model = model_section(
        "classifier", sample_rate=RATE, length=LENGTH, n_classes=3, n_mels=20, channels=(16,), blocks=1, width=3
    )
    config.data.sample_rate, config.data.length = RATE, LENGTH
    config.train.task = "classification"
    return config


def tones(n, seed=0):
    """Clips of three pitches under noise, and which pitch each has."""
    random = np.random.default_rng(seed)
    label = random.integers(3, size=n).astype(np.int32)
    pitch = np.array([300, 900, 2400])[label, None] * random.uniform(0.9, 1.1, (n, 1))
    audio = np.sin(2 * np.pi * pitch * np.arange(LENGTH) / RATE) + 0.1 * random.standard_normal((n, LENGTH))
    return {"audio": audio.astype(np.float32), "label": label, "index": np.arange(n, dtype=np.int32)}


def network_of(task):
    return nnx.jit(lambda: task.build(nnx.Rngs(0)))()


def test_learns_to_tell_tones_apart():
    task, optimizer = make_task(small_config()), optax.adam(1e-2)
    graph, params = weights.split(network_of(task))

    @jax.jit
    def step(params, moments, batch, key):
        grads = jax.grad(lambda params: task.loss(weights.merge(graph, params), batch, key)[0])(params)
        updates, moments = optimizer.update(grads, moments)
        return optax.apply_updates(params, updates), moments

    moments = optimizer.init(params)
    for i in range(40):
        params, moments = step(params, moments, tones(24, seed=i), jax.random.key(i))
    _, metrics = nnx.jit(task.validation_loss)(weights.merge(graph, params), tones(48, seed=1000), jax.random.key(0))
    assert metrics["accuracy"][0] >= 0.95 * metrics["accuracy"][1]


def test_metrics_are_sums_and_counts():
    task = make_task(small_config())
    network, batch = network_of(task), tones(10)
    loss, metrics = nnx.jit(task.validation_loss)(network, batch, jax.random.key(0))
    log_probability = jax.nn.log_softmax(nnx.jit(network)(batch["audio"]))
    expected = -log_probability[np.arange(10), batch["label"]]
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)  # float32 rounding
    np.testing.assert_allclose(metrics["loss"], (expected.sum(), 10), rtol=1e-5)
    right = np.sum(log_probability.argmax(axis=1) == batch["label"])
    np.testing.assert_array_equal(metrics["accuracy"], (right, 10))


def test_augmentation_depends_on_the_clip_and_not_on_its_batch():
    task = make_task(small_config())
    network, batch, loss = network_of(task), tones(6), nnx.jit(task.loss)
    key = jax.random.key(3)
    whole = loss(network, batch, key)[0]
    parts = [loss(network, {name: value[rows] for name, value in batch.items()}, key)[0]
             for rows in (slice(0, 3), slice(3, 6))]  # fmt: skip
    np.testing.assert_allclose(whole, (parts[0] + parts[1]) / 2, rtol=1e-5)  # float32 rounding
    assert whole != loss(network, batch, jax.random.key(4))[0]


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_change_speed_moves_the_pitch(factor):
    tone = jnp.sin(2 * jnp.pi * 100 * jnp.arange(LENGTH) / RATE)
    faster = classification.change_speed(tone, factor)
    count = int(LENGTH / max(factor, 1)) - 2
    expected = np.sin(2 * np.pi * 100 * factor * np.arange(count) / RATE)
    # 1e-3: interpolating a sine of 80 samples a period along straight lines.
    np.testing.assert_allclose(faster[:count], expected, atol=1e-3)
    np.testing.assert_array_equal(faster[int(LENGTH / factor) + 1 :], 0)


def test_noise_is_of_the_level_asked_for():
    keys = jax.random.split(jax.random.key(0), 200)
    silent = jnp.zeros(LENGTH)
    assert not np.any(jax.vmap(classification.augment, (None, 0))(silent, keys))
    constant = jnp.ones(LENGTH)
    noisy = jax.vmap(classification.augment, (None, 0))(constant, keys)
    level_db = 20 * np.log10(np.std(noisy[:, : int(LENGTH / 1.13)] - 1, axis=1))
    # 1 dB: 0.5 for the spread of a level measured on 1,400 samples, 0.5 for the zeros that a faster clip ends with.
    assert level_db.max() < -10 + 1 and level_db.min() > -70 - 1
    assert np.ptp(level_db) > 50


@pytest.mark.parametrize(("section", "field", "value"), [("data", "length", 1), ("data", "sample_rate", 16000)])
def test_model_and_data_must_agree(section, field, value):
    config = small_config()
    config[section][field] = value
    with pytest.raises(UserError, match=f"model.{field} .* data.{field}"):
        make_task(config)


def test_another_network_is_refused():
    config = small_config()
    config.model = model_section("diffwave")
    with pytest.raises(UserError, match="set classifier"):
        make_task(config)
