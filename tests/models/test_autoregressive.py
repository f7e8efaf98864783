import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffwave_jax.generation.drawing import log_probability
from diffwave_jax.kernels.recurrence import initial_state, step
from diffwave_jax.models import build, stepping, weights
from diffwave_jax.models.dense import ScalarNorm
from diffwave_jax.models.s4 import S4, convolve
from tests.helpers.autoregressive import TAGS, at_hand, golden_network

TINY = {"name": "sashimi_ar", "d_model": 4, "n_layers": 1, "d_state": 8, "l_max": 64, "length": 64}

# Logits are up to 5.7. Float32 through 6 S4 layers, measured: 2e-6 to 6e-6 in both modes; the originals' own float32
# is off by 2e-4 to 6e-4 by convolution and by 1e-5 to 3e-5 in steps.
TOLERANCE = 1.5e-5


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("tag", TAGS)
def test_golden_convolution(tag):
    """Logits, and what they say of the tokens that follow: of each, and in bits a sample."""
    vectors, network = at_hand(tag), golden_network(tag)
    x = vectors["x"].astype(np.int32)
    logits = jax.jit(lambda tokens: network(tokens))(jnp.asarray(x))
    close(logits[0, :: x.shape[1] // len(vectors["logits"])], vectors["logits"])
    close(logits[:, -vectors["logits_last"].shape[1] :], vectors["logits_last"])
    targets = vectors["y"] if "y" in vectors else x[:, 1:]
    counted = targets >= 0
    following = np.where(counted, targets, 0).astype(np.int32)
    log_p = np.asarray(log_probability(logits[:, : targets.shape[1]], jnp.asarray(following)))
    close(log_p[counted], vectors["logprob"][counted])
    if "y" in vectors:
        bits = -log_p.sum(axis=1, where=counted, dtype=np.float64) / counted.sum(axis=1) / np.log(2)
        np.testing.assert_allclose(bits, vectors["nll_bits"], rtol=0, atol=2e-6)  # errors of both signs: (3e-7)


@pytest.mark.parametrize("tag", TAGS)
def test_golden_steps(tag):
    """640 steps of clip 1, its own tokens fed in."""
    vectors = at_hand(tag)
    network = golden_network(tag)
    constants = stepping.constants(network)
    following = jnp.asarray(vectors["x"][1:, 1:641].T, jnp.int32)
    state = stepping.initial_state(network, constants, 1)

    @jax.jit
    def logits(state, following):
        return stepping.advance(network, constants, state, lambda logits, given: (given, logits), following)[1]

    close(logits(state, following)[:: 640 // len(vectors["step_logits"]), 0], vectors["step_logits"])


@pytest.mark.parametrize("tag", TAGS[1:])
def test_golden_clips_longer_than_the_kernels(tag):
    vectors = at_hand(tag)
    network = golden_network(tag)
    network.lengthen(2048)
    logits = jax.jit(lambda tokens: network(tokens))(jnp.asarray(vectors["long_x"], jnp.int32))
    close(logits[:, -vectors["long_logits_last"].shape[1] :], vectors["long_logits_last"])


@pytest.mark.parametrize(
    "fields",
    [{"pool": ()}, {"pool": (2,), "unet": True}, {"pool": (2, 3), "n_layers": (1, 0, 2), "length": 60}],
    ids=str,
)
def test_both_modes_agree(fields):
    """Other pools than the released models', stages without blocks, and no stage but the centre."""
    network = build(TINY | fields, rngs=nnx.Rngs(0))
    length = network.config.length
    tokens = np.random.default_rng(0).integers(0, 256, (2, length))
    tokens[:, 0] = stepping.START
    constants = stepping.constants(network)

    @jax.jit
    def both(tokens, following):
        state = stepping.initial_state(network, constants, 2)
        steps = stepping.advance(network, constants, state, lambda logits, given: (given, logits), following.T)
        return network(tokens), jnp.swapaxes(steps[1], 0, 1)

    # Float32 through a few layers, of values up to 3.
    expected, found = both(jnp.asarray(tokens), jnp.asarray(np.roll(tokens, -1, axis=1)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_no_output_depends_on_what_follows():
    network = build(TINY, rngs=nnx.Rngs(0))
    tokens = np.random.default_rng(0).integers(0, 256, (1, 64))
    changed = tokens.copy()
    changed[0, 37:] = (changed[0, 37:] + 100) % 256
    logits = jax.jit(lambda tokens: network(tokens))(jnp.asarray(np.concatenate([tokens, changed])))
    before, after = logits[:1], logits[1:]
    difference = np.abs(before - after).max(axis=(0, 2))
    # FFTs spread the rounding of float32 over the clip.
    assert difference[:37].max() < 1e-5
    assert difference[37] > 1e-2


def test_a_scalar_norm_divides_the_shift_too():
    norm = ScalarNorm(3, rngs=nnx.Rngs(0))
    norm.scale, norm.shift = nnx.Param(jnp.asarray([2.0])), nnx.Param(jnp.asarray([0.5]))
    x = np.array([[1.0, 2.0, 6.0]])
    expected = 2 * (x - x.mean() + 0.5) / x.std()
    np.testing.assert_allclose(norm(jnp.asarray(x, jnp.float32)), expected, rtol=1e-6)  # a few roundings of float32


@pytest.mark.parametrize("free_q", [False, True])
def test_a_recurrence_is_its_convolution(free_q):
    """20,000 steps of white noise: errors do not grow with their number."""
    length = 20_000
    layer = S4(4, d_state=64, l_max=length, tie_state=True, directions=1, free_q=free_q, rngs=nnx.Rngs(0))
    u = np.random.default_rng(0).standard_normal((length, 4)).astype(np.float32)
    constants = layer.recurrence()
    _, y = jax.lax.scan(lambda x, u: step(constants, x, u[None]), initial_state(constants, 1), jnp.asarray(u))
    kernel = np.asarray(layer.kernel(length)[0], np.float64)
    whole = np.fft.irfft(np.fft.rfft(kernel, 2 * length) * np.fft.rfft(u.T, 2 * length), 2 * length)[:, :length]
    expected = whole.T + np.asarray(layer.D[...]) * u
    error = np.abs(y[:, 0] - expected).max(axis=1) / np.sqrt(np.mean(np.square(expected)))
    # Measured against float64: 6e-6; the kernel itself is off by 1e-6 of its largest value.
    assert error[:2000].max() < 3e-5
    assert error[-2000:].max() < 3e-5
    np.testing.assert_allclose(
        convolve(jnp.asarray(u)[None], layer.filter(length))[0], expected, atol=1e-4 * np.abs(expected).max()
    )


def test_a_state_that_the_rank_one_term_leaves_alone():
    """P is 0 for one state, by which the others' basis cannot be scaled."""
    layer = S4(2, d_state=8, l_max=32, directions=1, rngs=nnx.Rngs(0))
    layer.kernel.P = nnx.Param(layer.kernel.P[...].at[:, 1].set(0))
    u = np.random.default_rng(0).standard_normal((32, 2)).astype(np.float32)
    constants = layer.recurrence()
    _, y = jax.lax.scan(lambda x, u: step(constants, x, u[None]), initial_state(constants, 1), jnp.asarray(u))
    expected = convolve(jnp.asarray(u)[None], layer.filter(32))[0]
    np.testing.assert_allclose(y[:, 0], expected, rtol=0, atol=1e-5 * np.abs(expected).max())  # float32 FFTs of 64


def test_lengthening_keeps_the_kernels():
    network = build(TINY, rngs=nnx.Rngs(0))
    kernels = [block.s4.kernel(64) for block in network.s4_blocks() if block.stage == 0]
    network.lengthen(200)
    assert network.config.l_max == (200, 64, 64)
    longer = [block.s4.kernel(200) for block in network.s4_blocks() if block.stage == 0]
    for before, after in zip(kernels, longer, strict=True):
        # C is stored in float32 again.
        np.testing.assert_allclose(after[..., :64], before, rtol=0, atol=2e-6 * np.abs(before).max())


def test_bad_configs():
    with pytest.raises(Exception, match="code must be one of mu_law"):
        build(TINY | {"code": "a_law"}, rngs=nnx.Rngs(0))
    with pytest.raises(Exception, match="norm must be one of scalar, layer, got 'batch'"):
        build(TINY | {"norm": "batch"}, rngs=nnx.Rngs(0))


def test_the_released_size():
    """4,751,072 parameters, as in the published checkpoints of version 3 for SC09."""
    _, params = weights.abstract(lambda rngs: build({"name": "sashimi_ar"}, rngs=rngs))
    assert weights.count(params) == 4_751_072
