"""What is not used is not imported: seconds before the first step."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("diffwave_jax", {"jax", "flax", "numpy"}),
        ("diffwave_jax.pretrained", {"soundfile", "audioread", "tqdm", "matplotlib", "diffwave_jax.convert"}),
        (
            "diffwave_jax.commands.sample",
            {"audioread", "grain", "matplotlib", "numba", "scipy.signal", "sklearn", "tensorflow_datasets", "torch"},
        ),
        ("diffwave_jax.commands.evaluate", {"tensorflow_datasets", "grain", "torch"}),
    ],
)
def test_what_is_not_used_is_not_imported(module, absent):
    command = [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert absent & set(done.stdout.split()) == set()


def test_the_data_s_names_are_there_all_the_same():
    import diffwave_jax.data

    assert all(callable(getattr(diffwave_jax.data, name)) for name in diffwave_jax.data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = diffwave_jax.data.nothing
