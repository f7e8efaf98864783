"""The step by itself: accumulation, precision, rematerialisation, averages, metrics."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from diffwave_jax.errors import UserError
from diffwave_jax.models import weights
from diffwave_jax.training.feed import Feed, data_mesh, global_batch
from diffwave_jax.training.meter import Meter, finite, means
from diffwave_jax.training.optimizer import learning_rate, make_optimizer
from diffwave_jax.training.step import TrainState, _averaged, init_state, make_train_step, make_validation
from diffwave_jax.training.tasks import make_task
from tests.helpers.runs import tiny_config

CLIPS = 16


def _batch():
    random = np.random.default_rng(1)
    audio = random.uniform(-1, 1, (CLIPS, 256)).astype(np.float32)
    return global_batch({"audio": audio, "label": np.zeros(CLIPS, np.int32)}, data_mesh())


def _plain_descent(config, *, steps=1, ema_decay=0.0, accumulate=1):
    """Weights before and after `steps` steps of gradient descent at rate 1, the state, and the steps' metrics."""
    task = make_task(config)
    graph, params = weights.split(task.build(nnx.Rngs(0)))
    # Away from the zeros of the last layer, behind which no gradient passes.
    params = {
        name: value + 0.05 * jnp.cos(jnp.arange(value.size)).reshape(value.shape) for name, value in params.items()
    }
    optimizer = optax.sgd(0.1)
    step = make_train_step(task, graph, optimizer, mesh=data_mesh(), seed=0, accumulate=accumulate, ema_decay=ema_decay)
    state, metrics = init_state(jax.tree.map(jnp.copy, params), optimizer, ema_decay), []
    for _ in range(steps):
        state, values = step(state, _batch(), {})
        metrics.append(values)
    return params, state, metrics


@pytest.fixture(params=["diffwave", "sashimi"], scope="module")
def name(request):
    return request.param


@pytest.fixture
def config(clips, name):
    return tiny_config(clips, name)


@pytest.fixture(scope="module")
def plain(clips, name):
    """What one plain step makes."""
    return _plain_descent(tiny_config(clips, name), ema_decay=0.75)


def test_accumulated_micro_batches_are_one_batch(config, plain):
    _, whole, whole_metrics = plain
    _, parts, parts_metrics = _plain_descent(config, accumulate=4)
    # Float32 sums in another order.
    chex.assert_trees_all_close(parts.params, whole.params, rtol=1e-5, atol=1e-6)
    assert means(parts_metrics) == pytest.approx(means(whole_metrics), rel=1e-5)


def test_rematerialisation_changes_memory_not_results(config, plain):
    _, kept, _ = plain
    config.model.remat = True
    _, recomputed, _ = _plain_descent(config)
    # The same operations, which XLA may fuse, and so round, in another way.
    chex.assert_trees_all_close(recomputed.params, kept.params, rtol=1e-5, atol=1e-6)


def test_bfloat16_computes_coarsely_and_keeps_everything_that_lasts_in_float32(config, plain):
    _, fine, fine_metrics = plain
    config.model.dtype = "bfloat16"
    before, coarse, coarse_metrics = _plain_descent(config, ema_decay=0.75)
    chex.assert_trees_all_equal_dtypes(coarse.params, coarse.ema, fine.params)
    assert {str(value.dtype) for value in coarse.params.values()} == {"float32"}
    # bfloat16 has 8 bits of precision: 0.4 % a rounding, and a few of them in a row.
    assert means(coarse_metrics)["loss"] == pytest.approx(means(fine_metrics)["loss"], rel=0.02)
    changes = [_distance(before, state.params) for state in (fine, coarse)]
    assert changes[1] == pytest.approx(changes[0], rel=0.1)


def test_gradients_are_float32_and_s4_kernels_too(clips):
    config = tiny_config(clips, "sashimi")
    config.model.dtype = "bfloat16"
    task = make_task(config)
    graph, params = weights.split(task.build(nnx.Rngs(0)))

    def loss(params):
        return task.loss(weights.merge(graph, params), _batch(), jax.random.key(0))[0]

    assert {str(g.dtype) for g in jax.eval_shape(jax.grad(loss), params).values()} == {"float32"}
    spectra = jax.eval_shape(lambda p: weights.merge(graph, p).filters(), params)
    assert {str(spectrum.dtype) for spectrum in jax.tree.leaves(spectra)} == {"complex64"}
    program = jax.jit(loss).lower(params).as_text()
    transforms = [line for line in program.splitlines() if "stablehlo.fft" in line]
    assert transforms and all("f32" in line and "bf16" not in line for line in transforms)


def test_bfloat16_learns(clips):
    config = tiny_config(clips, "sashimi")
    config.model.dtype = "bfloat16"
    _, _, metrics = _plain_descent(config, steps=60, ema_decay=0.75)
    losses = [means([step])["loss"] for step in metrics]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_ema_follows_the_weights(plain):
    """Nine tenths of the weights after the first step; in the long run a quarter at a decay of 0.75."""
    before, state, _ = plain
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, before, state.params)
    chex.assert_trees_all_close(state.ema, expected, rtol=1e-5, atol=1e-7)  # float32 roundings of 0.1 and 0.9
    late = _averaged(TrainState(jnp.int32(1000), {}, {"w": jnp.float32(1)}, ()), {"w": jnp.float32(3)}, 0.75)
    assert late["w"] == 1.5


def _loss_of_a_cosine(config):
    """A network's loss where its output is the cosine of its input; then, as float64, what it was made of.

    Those are the noisy audio (B, L), the clean (B, L), and the share of the signal's power (B, 1).
    """
    batch, seen = _batch(), {}

    def network(x, t, label):
        seen.update(x=np.asarray(x, np.float64), t=np.asarray(t))
        return jnp.cos(x)

    loss, _ = make_task(config).loss(network, batch, jax.random.key(0))
    schedule = config.diffusion
    alpha_bar = np.cumprod(1 - np.linspace(schedule.beta_min, schedule.beta_max, schedule.num_steps))
    return loss, seen["x"], schedule.signal_scale * np.asarray(batch["audio"], np.float64), alpha_bar[seen["t"], None]


def test_step_weight_power_one_is_the_loss_of_v_prediction(clips):
    """Salimans and Ho (arXiv 2202.00512): `v = sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x0`."""
    config = tiny_config(clips, "diffwave")
    config.train.step_weight_power = 1.0
    loss, x, x0, alpha_bar = _loss_of_a_cosine(config)
    signal, noise = np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
    v = signal * (x - signal * x0) / noise - noise * x0
    predicted_v = signal * np.cos(x) - noise * (x - noise * np.cos(x)) / signal
    # float32: one rounding of x, over the smallest deviation of the noise, 0.01.
    assert loss == pytest.approx(np.mean((v - predicted_v) ** 2), rel=1e-5)


def test_snr_limit_is_min_snr_weighting(clips):
    """Hang et al. (arXiv 2303.09556): the clean audio's error times min(SNR, limit)."""
    config = tiny_config(clips, "diffwave")
    config.train.snr_limit = 5.0
    loss, x, x0, alpha_bar = _loss_of_a_cosine(config)
    predicted_x0 = (x - np.sqrt(1 - alpha_bar) * np.cos(x)) / np.sqrt(alpha_bar)
    ratio = alpha_bar / (1 - alpha_bar)
    assert ratio.min() < 5 < ratio.max()
    # float32: one rounding of x, over the smallest deviation of the noise, 0.01.
    assert loss == pytest.approx(np.mean(np.minimum(ratio, 5) * (x0 - predicted_x0) ** 2), rel=1e-5)


def test_quartile_losses_make_up_the_loss(plain):
    _, _, [metrics] = plain
    quartiles = np.array([metrics[f"loss_quartile{q}"] for q in (1, 2, 3, 4)])
    assert quartiles[:, 1].sum() == CLIPS == metrics["loss"][1]
    np.testing.assert_allclose(quartiles[:, 0].sum(), metrics["loss"][0], rtol=1e-6)  # float32 sums


def test_validation_has_the_same_noise_every_time_and_leaves_the_weights(clips):
    task = make_task(tiny_config(clips))
    graph, params = weights.split(task.build(nnx.Rngs(0)))
    validate = make_validation(task, graph, mesh=data_mesh())
    chex.assert_trees_all_equal(validate(params, _batch(), {}), validate(params, _batch(), {}))


def test_spread_steps_are_evenly_spaced_and_differ_from_batch_to_batch(clips):
    task = make_task(tiny_config(clips, batch_size=CLIPS, spread_steps=True))
    batches = [np.asarray(task._spread_steps(jax.random.key(seed), jnp.arange(CLIPS))) for seed in range(200)]
    for steps in batches:
        around = np.append(np.sort(steps), steps.min() + 200)
        assert set(np.diff(around).tolist()) <= {12, 13}  # 200 / 16 = 12.5
    first = np.array([steps[0] for steps in batches])
    # Uniform for each clip: 200 draws have a mean within 4 standard errors of 99.5, 57.7 / sqrt(200) each.
    assert abs(first.mean() - 99.5) < 16.4 and len(set(first.tolist())) > 100


def test_a_network_that_predicts_v_learns_the_noise_it_stands_for(clips):
    """The loss is the error of the noise, whatever the network's output stands for."""
    config = tiny_config(clips)
    config.diffusion.prediction = "v"
    task, batch, key = make_task(config), _batch(), jax.random.key(0)
    loss, _ = task.loss(lambda x, t, label: jnp.zeros_like(x), batch, key)
    keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(key, index), 3))(batch["index"])
    t = jax.vmap(lambda key: jax.random.randint(key, (), 0, 200))(keys[:, 0])
    noise = jax.vmap(lambda key: jax.random.normal(key, (256,)))(keys[:, 1])
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 200))[t][:, None]
    v = np.sqrt(alpha_bar) * noise - np.sqrt(1 - alpha_bar) * batch["audio"]
    # v = 0 makes the noise wrong by sqrt(alpha_bar) v.
    assert float(loss) == pytest.approx(float(np.mean(alpha_bar * v**2)), rel=1e-5)  # float32 sums


def test_speakers_that_are_not_named_alike_are_refused(clips):
    config = tiny_config(clips)
    config.data.speakers = ("ann", "bob")
    with pytest.raises(UserError, match=r"n_speakers is 0 but data.speakers names 2"):
        make_task(config)


def test_a_batch_that_cannot_be_is_refused(clips):
    for train, message in [({"accumulate": 0}, "accumulate 0; both"), ({"batch_size": 7, "accumulate": 2}, "multiple")]:
        with pytest.raises(UserError, match=message):
            Feed(tiny_config(clips, **train), data_mesh())


def test_other_classes_than_the_datas_are_refused(clips):
    config = tiny_config(clips)
    config.model.n_classes = 3
    with pytest.raises(UserError, match=r"model.n_classes is 3, the data's classes are none"):
        Feed(config, data_mesh())


def test_learning_rates(clips):
    train = tiny_config(clips, learning_rate=1.0, warmup_steps=10, num_steps=110).train
    names = ("constant", "drop", "cosine", "decay")
    rates = {name: learning_rate(_with(train, schedule=name, drop_step=50, decay_steps=20)) for name in names}
    assert [float(rates["constant"](step)) for step in (0, 5, 10, 99)] == pytest.approx([0, 0.5, 1, 1])
    assert [float(rates["drop"](step)) for step in (5, 49, 50, 99)] == pytest.approx([0.5, 1, 0.2, 0.2])
    assert [float(rates["cosine"](step)) for step in (5, 10, 60, 110)] == pytest.approx([0.5, 1, 0.5, 0], abs=1e-6)
    assert [float(rates["decay"](step)) for step in (5, 10, 90, 95, 110)] == pytest.approx([0.5, 1, 1, 0.75, 0])


def test_clipping_bounds_what_adam_sees(clips):
    optimizer = make_optimizer(tiny_config(clips, clip_norm=1.0, learning_rate=1.0, warmup_steps=0).train)
    params = {"w": jnp.zeros(2)}
    _, state = optimizer.update({"w": jnp.array([30.0, 40.0])}, optimizer.init(params), params)
    mu = next(part.mu["w"] for part in jax.tree.leaves(state, is_leaf=_is_adam) if _is_adam(part))
    np.testing.assert_allclose(mu, 0.1 * np.array([0.6, 0.8]), rtol=1e-6)  # (1 - beta 1) times the unit gradient


def test_means_leave_out_what_was_never_counted():
    steps = [{"a": (2.0, 1.0), "b": (0.0, 0.0)}, {"a": (4.0, 2.0), "b": (0.0, 0.0)}]
    assert means(steps) == {"a": 2.0}
    assert finite(steps[0]) and not finite({"a": (np.nan, 1.0)})


def test_speed_leaves_out_the_first_step_and_pauses():
    meter = Meter(batch_size=10)
    meter.add({"a": (1.0, 1.0)})
    assert "steps_per_second" not in meter.read()
    meter.add({"a": (3.0, 1.0)})
    values = meter.read()
    assert values["a"] == 3.0 and values["clips_per_second"] == pytest.approx(10 * values["steps_per_second"])


def _with(train, **fields):
    changed = train.copy_and_resolve_references()
    changed.update(fields)
    return changed


def _distance(a, b):
    return float(optax.tree.norm(jax.tree.map(jnp.subtract, a, b)))


def _is_adam(part):
    return isinstance(part, optax.ScaleByAdamState)
