"""State-space convolution kernels: DPLR spectra and Cauchy sums."""

from kernels.dplr import dplr_kernel, dplr_spectrum

__all__ = ["dplr_kernel", "dplr_spectrum"]
