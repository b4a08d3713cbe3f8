"""Checks and times every kernel on the GPU at hand, without Jittor: `python -m bench.gpu_check --out FOLDER`."""
