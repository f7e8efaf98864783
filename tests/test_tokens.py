import numpy as np
import pytest

from diffwave_jax.tokens import CODES
from tests.helpers.autoregressive import golden

THEIRS = {"mu_law": "torchaudio", "scaled_mu_law": "s4", "scaled_linear": "s4_linear"}


@pytest.mark.parametrize(("code", "theirs"), THEIRS.items())
def test_tables(code, theirs):
    """All 256 levels, and 8,286 inputs between -1 and 1, as the originals compute them."""
    table = golden("ar_codes")
    encode, decode = CODES[code]
    np.testing.assert_array_equal(encode(table["grid"]), table[f"{theirs}_encode"])
    decoded = decode(np.arange(256))
    assert decoded.dtype == np.float32
    # Theirs are powers taken in float32.
    np.testing.assert_allclose(decoded, table[f"{theirs}_decode"], rtol=0, atol=3e-7)
    if f"{theirs}_decode_float64" in table:
        # Ours are float32's nearest: half of its step below 1.
        np.testing.assert_allclose(decoded, table[f"{theirs}_decode_float64"], rtol=0, atol=3.1e-8)


@pytest.mark.parametrize(("code", "theirs"), THEIRS.items())
def test_clips(code, theirs):
    """Loud; quiet with an offset; silent; constant; square: each scaled by itself, where the code scales."""
    table = golden("ar_codes")
    audio = (table["clips"] / 32768).astype(np.float32)
    np.testing.assert_array_equal(CODES[code].encode(audio), table[f"clips_{theirs}"])


def test_mu_law_tokens_come_back():
    encode, decode = CODES["mu_law"]
    np.testing.assert_array_equal(encode(decode(np.arange(256))), np.arange(256))
    assert encode(np.zeros(1)) == 128
