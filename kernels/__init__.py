"""State-space convolution kernels: DPLR spectra and Cauchy sums."""
