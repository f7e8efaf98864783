"""Step mode against convolution over long clips, in float32: python benchmarks/autoregressive_error.py [16000 128000]

First a stream of the published SC09 size with random weights, the hardest case: the log-probability of its tokens when
they were drawn, beside that by convolution, as the largest difference over the rms of the logits. Then one S4 layer of
each stage fed with white noise: the largest error of the output over its rms, of the recurrence and of the convolution,
against a float64 convolution.
"""

import itertools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.autoregressive import published_size
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.jax_settings import standard_jax
from diffwave_jax.kernels import dplr_kernel, recurrence
from diffwave_jax.kernels.truncation import with_length
from diffwave_jax.models import stepping
from diffwave_jax.models.s4 import S4, convolve, filter_spectrum

WINDOWS = 1000, 16_000, 64_000, 128_000
HEADS = 8  # of a layer; their step sizes are spread over all


def main(lengths: list[int]) -> None:
    """Prints the errors by window."""
    model = published_size("numba")
    for length in lengths:
        print_windows(f"network, {length} samples", network_errors(model, length))
    for stage, layer in enumerate(first_layers(model)):
        for name, errors in layer_errors(layer, max(lengths)).items():
            print_windows(f"S4 layer of stage {stage}, {name}", errors)


def print_windows(name: str, errors: np.ndarray) -> None:
    """The largest of errors (L,) between the ends that there are."""
    ends = [0, *(end for end in WINDOWS if end < len(errors)), len(errors)]
    spans = itertools.pairwise(ends)
    print(f"{name}:", ", ".join(f"{a} to {b} {errors[a:b].max():.1e}" for a, b in spans), flush=True)


def network_errors(model: AutoregressiveGenerator, length: int) -> np.ndarray:
    """(length,) of the log-probability at each sample, over the rms of the logits."""
    pieces = list(model.stream(1, length=length))
    tokens = np.concatenate([piece.tokens for piece in pieces], axis=1)
    stepped = np.concatenate([piece.log_probability for piece in pieces], axis=1)
    before = np.concatenate([[[stepping.START]], tokens[:, :-1]], axis=1)
    logits = model.logits(before)
    convolved = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), tokens[..., None], axis=-1)[..., 0]
    return np.abs(stepped - convolved)[0] / np.sqrt(np.mean(np.square(logits, dtype=np.float64)))


def first_layers(model: AutoregressiveGenerator) -> list[S4]:
    """One of each stage."""
    blocks = model._network().s4_blocks()
    return [next(block.s4 for block in blocks if block.stage == stage) for stage in range(3)]


def layer_errors(layer: S4, length: int) -> dict[str, np.ndarray]:
    """(length,) of both modes, the worst of some heads."""
    ssm = layer.kernel.on_host()
    chosen = np.argsort(ssm.dt)[:: max(1, len(ssm.dt) // HEADS)][:HEADS]
    dt = ssm.dt[chosen]
    c = with_length(ssm.dt, ssm.w, ssm.p, ssm.c, layer.kernel.l_max, length)[:, chosen]
    d = np.asarray(layer.D[...], np.float64)[chosen]
    u = np.random.default_rng(0).standard_normal((length, len(chosen))).astype(np.float32)
    with jax.enable_x64(True):
        kernel = np.concatenate([exact_kernel(ssm, dt[i : i + 1], c[:, i : i + 1], length) for i in range(len(chosen))])
    size = 2 * length
    spectrum = np.fft.rfft(kernel, size) * np.fft.rfft(u.T.astype(np.float64), size)
    exact = np.fft.irfft(spectrum, size)[:, :length].T + d * u
    found = {"recurrence": stepped(recurrence.recurrence(dt, ssm.w, ssm.b, ssm.p, c[0], d, length), u)}
    with standard_jax():
        w, b, p, c = (jnp.asarray(x, jnp.complex64) for x in (ssm.w, ssm.b, ssm.p, c))
        short = dplr_kernel(jnp.asarray(dt, jnp.float32), w, b, p, c, length)
        filters = filter_spectrum(short[0].at[:, 0].add(d.astype(np.float32)))
        found["convolution"] = np.asarray(convolve(jnp.asarray(u)[None], filters))[0]
    rms = np.sqrt(np.mean(np.square(exact), axis=0))
    return {name: np.max(np.abs(y - exact) / rms, axis=1) for name, y in found.items()}


def exact_kernel(ssm, dt, c, length: int) -> np.ndarray:
    """(1, length) in float64."""
    return np.asarray(dplr_kernel(dt, ssm.w, ssm.b, ssm.p, c, length, implementation="reference"))[0]


@standard_jax()
def stepped(constants: recurrence.Recurrence, u: np.ndarray) -> np.ndarray:
    """The outputs (L, H) of inputs (L, H), one after another."""

    def step(state, u):
        state, y = recurrence.step(constants, state, u[None])
        return state, y[0]

    return np.asarray(jax.jit(lambda u: jax.lax.scan(step, recurrence.initial_state(constants, 1), u)[1])(u))


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [16_000, 128_000])
