"""State-space convolution kernels: DPLR spectra and Cauchy sums."""

from kernels.block_sizes import BlockSizes
from kernels.cauchy import cauchy
from kernels.dplr import dplr_kernel, dplr_spectrum

__all__ = ["BlockSizes", "cauchy", "dplr_kernel", "dplr_spectrum"]
