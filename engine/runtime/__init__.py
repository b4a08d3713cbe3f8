"""The one door to Jittor: ``from engine.runtime import jt``.

Importing this package is cheap. Jittor is prepared, compiled if need be, and imported when ``jt`` is first asked for;
nothing else in the project imports it directly.
"""

from .errors import LussError, RuntimeSetupError

__all__ = ["LussError", "RuntimeSetupError", "jt"]


def __getattr__(name):
    if name == "jt":
        from .jittor_setup import load_jittor

        return load_jittor()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
