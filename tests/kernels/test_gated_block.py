"""DiffWave's block in loops against the same formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax.kernels.backends import choose

if choose(None) != "numba":
    pytest.skip("Numba does not work here", allow_module_level=True)

from diffwave_jax.kernels.cpu import gated_block, panels

pytestmark = pytest.mark.skipif(not panels.supported(), reason="the loops need AVX-512")


def operands(clips, length, channels, skip_channels, bias_rows=1, seed=0):
    """h, skips, kernel, outward, bias, shift and ends; numbers of order 1."""
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.normal(size=shape).astype(np.float32)

    kernel = normal(3, channels, 2 * channels) / np.float32((3 * channels) ** 0.5)
    outward = normal(channels, channels + skip_channels) / np.float32(channels**0.5)
    bias, shift = normal(clips, bias_rows, 2 * channels), normal(clips, 1, channels + skip_channels)
    h, skips = normal(clips, length, channels), normal(clips, length, skip_channels)
    return h, skips, kernel, outward, bias, shift, np.full(clips, length)


def exact(h, skips, kernel, outward, bias, shift, ends, dilation):
    h, kernel, outward = (x.astype(np.float64) for x in (h, kernel, outward))
    length, channels = h.shape[1:]
    heard = np.where((np.arange(length) < ends[:, None])[..., None], h, 0)
    padded = np.pad(heard, ((0, 0), (dilation, dilation), (0, 0)))
    gates = bias + sum(padded[:, tap * dilation :][:, :length] @ kernel[tap] for tap in range(3))
    out = np.tanh(gates[..., :channels]) / (1 + np.exp(-gates[..., channels:])) @ outward
    added = out[..., :channels], out[..., channels:]
    return 0.5**0.5 * (h + added[0]) + shift[..., :channels], skips + added[1] + shift[..., channels:]


def found(h, skips, kernel, outward, bias, shift, ends, dilation):
    packed = gated_block.pack(jnp.asarray(kernel), jnp.asarray(outward))
    return gated_block.block(h, skips, packed, bias, shift, jnp.asarray(ends), dilation)


def check(arguments, dilation, atol=3e-6):
    """Sums of about 10 at most, of which float32 keeps 5e-7; minimal filtering's own error is at most 1.2e-6 here."""
    results = found(*arguments, dilation)
    for result, expected in zip(results, exact(*arguments, dilation), strict=True):
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(np.asarray(result, np.float64), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("dilation", [2**n for n in range(12)])
def test_every_dilation(dilation):
    check(operands(1, 2500, 32, 32, seed=dilation), dilation)


@pytest.mark.parametrize("length", [1, 3, 4, 5, 31, 223, 224, 225, 500])
@pytest.mark.parametrize("dilation", [1, 3, 64])
def test_lengths_that_fill_no_tile(length, dilation):
    check(operands(1, length, 32, 32, seed=length), dilation)


def test_several_clips_of_other_lengths_with_a_bias_for_each_sample():
    *arguments, _ = operands(3, 301, 64, 32, bias_rows=301)
    check((*arguments, np.array([301, 0, 77])), 8)


def test_the_full_width():
    check(operands(1, 300, 256, 256), 16)


def test_a_clip_does_not_depend_on_its_neighbours():
    h, skips, kernel, outward, bias, shift, ends = operands(4, 150, 32, 32)
    together = found(h, skips, kernel, outward, bias, shift, ends, 4)
    alone = found(h[2:3], skips[2:3], kernel, outward, bias[2:3], shift[2:3], ends[2:3], 4)
    for several, one in zip(together, alone, strict=True):
        np.testing.assert_array_equal(several[2:3], one)


def test_the_given_sums_are_not_changed():
    arguments = tuple(map(jnp.asarray, operands(1, 40, 32, 32)))
    before = np.array(arguments[1])
    found(*arguments, 1)
    np.testing.assert_array_equal(arguments[1], before)


def test_mapped_over_an_axis():
    h, skips, kernel, outward, bias, shift, ends = operands(2, 40, 32, 32)
    packed = gated_block.pack(jnp.asarray(kernel), jnp.asarray(outward))

    def one(h, skips):
        return gated_block.block(h[None], skips[None], packed, bias[:1], shift[:1], jnp.asarray(ends[:1]), 2)

    mapped = jax.vmap(one)(h, skips)
    for i in range(2):
        for several, alone in zip(mapped, one(h[i], skips[i]), strict=True):
            np.testing.assert_array_equal(several[i], alone)


def test_where_it_fits_and_pays():
    assert gated_block.fits(64, 128)
    assert not gated_block.fits(48, 64) and not gated_block.fits(64, 1)
    assert gated_block.pays(16000, [2**n for n in range(12)])
    assert not gated_block.pays(100, [128, 256])  # one output of four is in the clip
