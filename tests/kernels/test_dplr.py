from functools import cache, partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax import kernels
from diffwave_jax.kernels import xla

PARAMETERS = ("dt", "w", "b", "p", "c")

# (heads, states, directions, length, tied): one state, one head, odd lengths, no multiple of anything.
SMALL = [(1, 2, 2, 2, False), (3, 1, 2, 37, False), (7, 5, 1, 333, True)]
LARGE = [(4, 32, 2, 1024, False), (2, 128, 1, 130, False)]
# Mosaic's interpreter calls back into Python for every access to memory: it gets the small shapes.
CASES = [
    *[(implementation, shape) for implementation in ("xla", "numba", "triton") for shape in SMALL + LARGE],
    *[("mosaic", shape) for shape in SMALL],
    ("numba", (9, 32, 2, 2000, False)),  # enough for two threads
]


@partial(jax.jit, static_argnames=("length", "implementation", "block_sizes"))
def kernel_and_gradients(parameters, weights, length, implementation, block_sizes=None):
    """The kernels, and the gradients of a linear function of them with respect to every parameter."""

    def loss(parameters):
        *positional, q = parameters if len(parameters) > len(PARAMETERS) else (*parameters, None)
        options = {"q": q, "implementation": implementation, "block_sizes": block_sizes}
        kernel = kernels.dplr_kernel(*positional, length, **options)
        return jnp.sum(weights * kernel), kernel

    gradients, kernel = jax.grad(loss, has_aux=True)(parameters)
    return kernel, gradients


@cache
def truth(make, shape):
    """Inputs and the reference's results."""
    *sizes, directions, length, tied = shape
    parameters = make(*sizes, directions, tied, seed=length)
    weights = np.random.default_rng(length).normal(size=(directions, sizes[0], length))
    return parameters, weights, kernel_and_gradients(parameters, weights, length, "reference")


def golden(name):
    """Parameters of one layer of the original's test network, and the kernels it computed in float64."""
    data = np.load(Path(__file__).with_name("golden.npz"))

    def complex_number(key):
        return np.float64(data[f"{name}.{key}"]) @ [1, 1j]

    dt, real, imaginary = (np.float64(data[f"{name}.{key}"]) for key in ("log_dt", "log_w_real", "w_imag"))
    parameters = np.exp(dt), -np.exp(real) + 1j * imaginary, *map(complex_number, "BPC")
    return parameters, data[name]


@pytest.mark.parametrize("name", ["s4_kernel", "center_s4_kernel"])
def test_golden_kernels_and_gradients(name, relative_error):
    parameters, true = golden(name)
    weights = np.random.default_rng(1).normal(size=(*true.shape[:2], 1024))
    kernel, gradients = kernel_and_gradients(parameters, weights, 1024, "reference")
    # The order of sums of about 60 values of size 1 in float64.
    assert np.max(np.abs(kernel[..., : true.shape[-1]] - true)) < 1e-12
    for implementation in ("xla", "numba", "triton"):
        found, found_gradients = kernel_and_gradients(parameters, weights, 1024, implementation)
        # 5e-7 was seen.
        assert np.max(np.abs(found[..., : true.shape[-1]] - true)) < 1.5e-6
        for which, x, y in zip(PARAMETERS, found_gradients, gradients, strict=True):
            # 5e-6 was seen; without the split of B along P, 3e-4 for dt.
            assert relative_error(x, y) < 2e-5, (implementation, which)


@pytest.mark.parametrize(("implementation", "shape"), CASES, ids=str)
def test_agrees_with_the_reference(implementation, shape, dplr_parameters, relative_error):
    parameters, weights, (true, true_gradients) = truth(dplr_parameters, shape)
    kernel, gradients = kernel_and_gradients(parameters, weights, shape[3], implementation)
    chex.assert_shape(kernel, (shape[2], shape[0], shape[3]))
    # The bounds that the project promises for every implementation.
    assert relative_error(kernel, true) < 3e-6
    for which, x, y in zip(PARAMETERS, gradients, true_gradients, strict=True):
        assert relative_error(x, y) < 1e-4, which


def with_free_q(parameters):
    """The parameters of (2, 4) heads and states, with a q that is not conj(p)."""
    return *parameters, parameters[3].conj() + 0.3 * np.exp(1j * np.arange(8.0)).reshape(2, 4)


def test_the_reference_with_a_free_q_is_the_discrete_state_space(dplr_parameters):
    """`k[l] = C Abar^l Bbar` of A = diag(w) - P Q^T over states and their conjugates, by dense matrices."""
    dt, w, b, p, c, q = with_free_q(dplr_parameters(2, 4, 1))
    w, b, p, q, output = (np.concatenate([x, x.conj()], -1) for x in (w, b, p, q, c[0]))
    identity, length, true, stored = np.eye(8), 40, [], []
    for h in range(2):
        half = dt[h] / 2 * (np.diag(w[h]) - np.outer(p[h], q[h]))
        a_bar, b_bar = np.linalg.solve(identity - half, identity + half), np.linalg.solve(identity - half, dt[h] * b[h])
        true.append([output[h] @ np.linalg.matrix_power(a_bar, l) @ b_bar for l in range(length)])
        stored.append(output[h] @ (identity - np.linalg.matrix_power(a_bar, length)))
    given = dt, w[:, :4], b[:, :4], p[:, :4], np.array(stored)[None, :, :4], length
    found = kernels.dplr_kernel(*given, q=q[:, :4], implementation="reference")[0]
    # Sums of 40 float64 numbers of about 1.
    np.testing.assert_allclose(found, np.real(true), atol=1e-12 * np.max(np.abs(true)))


@pytest.mark.parametrize("implementation", ["xla", "numba", "triton", "mosaic"])
def test_a_free_q_agrees_with_the_reference(implementation, dplr_parameters, relative_error):
    parameters = with_free_q(dplr_parameters(2, 4))
    weights = np.random.default_rng(0).normal(size=(2, 2, 50))
    true, true_gradients = kernel_and_gradients(parameters, weights, 50, "reference")
    kernel, gradients = kernel_and_gradients(parameters, weights, 50, implementation)
    # As for Q = conj(P).
    assert relative_error(kernel, true) < 3e-6
    for which, x, y in zip((*PARAMETERS, "q"), gradients, true_gradients, strict=True):
        assert relative_error(x, y) < 1e-4, which


def test_float32_without_x64(dplr_parameters, relative_error):
    parameters = dplr_parameters(3, 4)
    expected = kernels.dplr_spectrum(*parameters, 50, implementation="reference")
    with jax.enable_x64(False):
        small = [jnp.asarray(x) for x in parameters]
        compute = jax.jit(lambda *parameters: kernels.dplr_spectrum(*parameters, 50, implementation="xla"))
        found = compute(*small)
    assert found.dtype == np.complex64
    # Rounding of float32, 6e-8, a few dozen times.
    assert relative_error(found, expected) < 3e-6


# 7 heads of 4 states and 81 nodes: one at a time, and 3, with a remainder.
@pytest.mark.parametrize("block", [1, 3 * 4 * 81])
def test_blocks_agree_with_the_whole(block, dplr_parameters, monkeypatch):
    parameters = dplr_parameters(7, 4)
    weights = np.random.default_rng(0).normal(size=(2, 7, 160))
    whole = kernel_and_gradients(parameters, weights, 160, "xla")
    jax.clear_caches()
    monkeypatch.setattr("kernels.xla.CPU_BLOCK", block)
    blocks = kernel_and_gradients(parameters, weights, 160, "xla")
    # Sums of at most 160 float32 numbers in another order.
    chex.assert_trees_all_close(blocks, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("heads", "traces"), [(8, 1), (7, 2), (5, 1)])
def test_heads_in_equal_batches_where_that_costs_little(heads, traces, monkeypatch):
    """At most 5 fit: twice 4; 5 and a remainder, as single ones would take longer; all 5."""
    monkeypatch.setattr(xla, "CPU_BLOCK", 50)
    shapes = []
    doubled = xla._map(lambda x: shapes.append(x.shape) or 2 * x, (jnp.arange(heads),), 10)
    np.testing.assert_array_equal(doubled, 2 * np.arange(heads))
    assert len(shapes) == traces


def test_products_are_float32_on_every_device(dplr_parameters):
    parameters = [jnp.asarray(x) for x in dplr_parameters(3, 4)]

    def loss(*parameters):
        return jnp.sum(kernels.dplr_kernel(*parameters, 50, implementation="xla") ** 2)

    program = jax.jit(jax.value_and_grad(loss, argnums=range(5))).lower(*parameters).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    # A TPU's default is bfloat16.
    assert len(products) >= 6
    assert all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_block_sizes_change_nothing_but_the_order_of_sums(dplr_parameters):
    parameters = dplr_parameters(2, 5)
    weights = np.random.default_rng(0).normal(size=(2, 2, 700))
    default = kernel_and_gradients(parameters, weights, 700, "triton")
    sizes = kernels.BlockSizes(nodes=64, warps=1, states=2, state_nodes=32, state_warps=1, chunk=3)
    chosen = kernel_and_gradients(parameters, weights, 700, "triton", sizes)
    chex.assert_trees_all_close(chosen[0], default[0], rtol=0, atol=1e-6)
    for x, y in zip(chosen[1], default[1], strict=True):
        # Sums of 351 float32 numbers in another order.
        chex.assert_trees_all_close(x, y, rtol=0, atol=1e-5 * np.max(np.abs(y)))


def test_length_one_is_the_node_zero_alone(dplr_parameters, relative_error):
    parameters = dplr_parameters(3, 4)
    found, expected = (kernels.dplr_spectrum(*parameters, 1, implementation=i) for i in ("xla", "reference"))
    # As `test_float32_without_x64`.
    assert relative_error(found, expected) < 3e-6


@pytest.mark.parametrize("implementation", ["xla", "numba"])
def test_nothing_of_heads_times_states_times_nodes_is_kept(implementation):
    heads, states, length = 64, 32, 16000

    def loss(*parameters):
        return jnp.sum(kernels.dplr_kernel(*parameters, length, implementation=implementation) ** 2)

    shapes = (heads,), (heads, states), (heads, states), (heads, states), (2, heads, states)
    structs = [jax.ShapeDtypeStruct(shape, "complex64" if len(shape) > 1 else "float32") for shape in shapes]
    compiled = jax.jit(jax.grad(loss, argnums=range(5))).trace(*structs).lower().compile()
    # Spectra, kernels and their cotangents, (2, heads, length) each, and a block's worth.
    one_array = 4 * heads * states * (length // 2)
    assert compiled.memory_analysis().temp_size_in_bytes < one_array


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ({"dt": np.ones((2, 1))}, "dt must have shape"),
        ({"w": np.ones((3, 4))}, r"w must have shape \(2, 4\) or \(1, 4\), found \(3, 4\)"),
        ({"c": np.ones((3, 2, 4))}, "c must have shape"),
        ({"q": np.ones((2, 3))}, r"q must have shape \(2, 4\) or \(1, 4\), found \(2, 3\)"),
        ({"length": 0}, "length must be at least 1"),
        ({"implementation": "cuda"}, "'cuda' is unknown: choose one of reference, xla, numba, triton, mosaic"),
        ({"block_sizes": kernels.BlockSizes(1, 1, 1, 1, 1, 1)}, "block_sizes are for triton and mosaic"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input(replace, message, dplr_parameters):
    arguments = dict(zip(PARAMETERS, dplr_parameters(2, 4), strict=True)) | {"length": 8, "implementation": "xla"}
    with pytest.raises(ValueError, match=message):
        kernels.dplr_spectrum(**arguments | replace)
