from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kernels

FAST = ["xla", "triton"]
PARAMETERS = ("dt", "w", "b", "p", "c")

# (heads, states, directions, length, tied): one state, one head, odd lengths, no multiple of anything.
SHAPES = [
    (1, 2, 2, 2, False),
    (3, 1, 2, 37, False),
    (7, 5, 1, 333, True),
    (4, 32, 2, 1024, False),
    (2, 128, 1, 130, False),
]


def golden(name):
    """Parameters of one layer of the original's test network, and the kernels it computed in float64."""
    data = np.load(Path(__file__).with_name("golden.npz"))

    def complex_number(key):
        return np.float64(data[f"{name}.{key}"]) @ [1, 1j]

    dt, real, imaginary = (np.float64(data[f"{name}.{key}"]) for key in ("log_dt", "log_w_real", "w_imag"))
    parameters = np.exp(dt), -np.exp(real) + 1j * imaginary, *map(complex_number, "BPC")
    return parameters, data[name]


def relative_error(found, true):
    return np.max(np.abs(found - true)) / np.max(np.abs(true))


def gradients(parameters, length, implementation, weights):
    """Of a random linear function of the kernels, with respect to every parameter."""

    def loss(parameters):
        return jnp.sum(weights * kernels.dplr_kernel(*parameters, length, implementation=implementation))

    return jax.jit(jax.grad(loss))(parameters)


@pytest.mark.parametrize("name", ["s4_kernel", "center_s4_kernel"])
@pytest.mark.parametrize("implementation", ["reference", *FAST])
def test_golden_kernels(name, implementation):
    parameters, true = golden(name)
    found = kernels.dplr_kernel(*parameters, 1024, implementation=implementation)[..., : true.shape[-1]]
    # float64 differs by the order of sums; float32 by its rounding of about 60 values of size 1.
    assert np.max(np.abs(found - true)) < (1e-12 if implementation == "reference" else 1.5e-6)


@pytest.mark.parametrize("name", ["s4_kernel", "center_s4_kernel"])
@pytest.mark.parametrize("implementation", FAST)
def test_golden_gradients(name, implementation):
    parameters, true = golden(name)
    weights = np.random.default_rng(1).normal(size=(*true.shape[:2], 1024))
    expected = gradients(parameters, 1024, "reference", weights)
    found = gradients(parameters, 1024, implementation, weights)
    for which, x, y in zip(PARAMETERS, found, expected, strict=True):
        # 5e-6 was seen; without the split of B along P, 3e-4 for dt.
        assert relative_error(x, y) < 2e-5, which


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("implementation", FAST)
def test_agrees_with_the_reference(shape, implementation, dplr_parameters):
    *sizes, directions, length, tied = shape
    parameters = dplr_parameters(*sizes, directions, tied, seed=length)
    weights = np.random.default_rng(length).normal(size=(directions, sizes[0], length))
    expected = kernels.dplr_kernel(*parameters, length, implementation="reference")
    found = kernels.dplr_kernel(*parameters, length, implementation=implementation)
    chex.assert_shape(found, (directions, sizes[0], length))
    # The bounds that the project promises for every implementation.
    assert relative_error(found, expected) < 3e-6
    for which, x, y in zip(
        PARAMETERS,
        gradients(parameters, length, implementation, weights),
        gradients(parameters, length, "reference", weights),
        strict=True,
    ):
        assert relative_error(x, y) < 1e-4, which


def test_float32_without_x64(dplr_parameters):
    parameters = dplr_parameters(3, 4)
    expected = kernels.dplr_spectrum(*parameters, 50, implementation="reference")
    with jax.enable_x64(False):
        small = [jnp.asarray(x) for x in parameters]
        found = kernels.dplr_spectrum(*small, 50, implementation="xla")
        kernel = kernels.dplr_kernel(*small, 50, implementation="xla")
    chex.assert_type([found, kernel], [np.complex64, np.float32])
    assert relative_error(found, expected) < 3e-6


def test_heads_in_blocks_agree_with_one_block(dplr_parameters, monkeypatch):
    """7 heads, 3 at a time: two blocks and a remainder."""
    parameters = dplr_parameters(7, 4)
    weights = np.random.default_rng(0).normal(size=(2, 7, 40))
    whole = gradients(parameters, 40, "xla", weights)
    monkeypatch.setattr("kernels.xla.BLOCK_SIZE", 3 * 4 * 21)
    # Sums of at most 40 float32 numbers in another order.
    chex.assert_trees_all_close(gradients(parameters, 40, "xla", weights), whole, rtol=1e-5, atol=1e-4)


def test_length_one_is_the_node_zero_alone(dplr_parameters):
    parameters = dplr_parameters(3, 4)
    found, expected = (kernels.dplr_spectrum(*parameters, 1, implementation=i) for i in ("xla", "reference"))
    assert relative_error(found, expected) < 3e-6


def test_nothing_of_heads_times_states_times_nodes_is_kept():
    heads, states, length = 64, 32, 16000

    def loss(*parameters):
        return jnp.sum(kernels.dplr_kernel(*parameters, length, implementation="xla") ** 2)

    shapes = (heads,), (heads, states), (heads, states), (heads, states), (2, heads, states)
    structs = [jax.ShapeDtypeStruct(shape, "complex64" if len(shape) > 1 else "float32") for shape in shapes]
    compiled = jax.jit(jax.grad(loss, argnums=range(5))).trace(*structs).lower().compile()
    # Spectra, kernels and their cotangents, (2, heads, length) each, and a block's worth.
    one_array = 4 * heads * states * (length // 2)
    assert compiled.memory_analysis().temp_size_in_bytes < 1.5 * one_array


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        ({"dt": np.ones((2, 1))}, "dt must have shape"),
        ({"w": np.ones((3, 4))}, r"w must have shape \(2, 4\) or \(1, 4\), found \(3, 4\)"),
        ({"c": np.ones((3, 2, 4))}, "c must have shape"),
        ({"length": 0}, "length must be at least 1"),
        ({"implementation": "cuda"}, "'cuda' is unknown: choose one of reference, xla, triton"),
    ],
)
def test_bad_input(replace, message, dplr_parameters):
    arguments = dict(zip(PARAMETERS, dplr_parameters(2, 4), strict=True)) | {"length": 8} | replace
    with pytest.raises(ValueError, match=message):
        kernels.dplr_spectrum(**arguments)
