"""LUSS engine: large-scale unsupervised semantic segmentation (PASS, SAMPASS and the LUSS benchmark) on Jittor."""

import engine as _engine

if not getattr(_engine, "__luss__", False):
    raise ImportError(
        f"luss needs its own package `engine`, but {getattr(_engine, '__file__', 'another one')} was found first: "
        "start Python from another folder, or rename that file"
    )
__version__ = _engine.__version__
