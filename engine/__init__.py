"""The part of the project that knows tensors, files and machines, and not what LUSS is."""

__luss__ = True  # lets `import luss` tell this package from a stranger's `engine.py`
__version__ = "0.1.0"
