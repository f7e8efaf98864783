"""State-space convolution kernels: DPLR spectra and Cauchy sums."""

from diffwave_jax.kernels.cauchy import cauchy
from diffwave_jax.kernels.dplr import dplr_kernel, dplr_spectrum
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes

__all__ = ["BlockSizes", "cauchy", "dplr_kernel", "dplr_spectrum"]
