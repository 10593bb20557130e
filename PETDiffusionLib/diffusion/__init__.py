"""Processes, samplers, the denoiser contract and tiling.

A denoiser is a callable `estimate = denoiser(x_t, t, condition)`: a noisy volume [batch, 1, z, y, x] and its time in,
an estimate of the clean volume in channel 0 out. A denoiser that knows how wrong it is adds its variance as channel 1.
"""
