"""oneDNN for Jittor's CPU convolutions, from the PyPI wheels instead of Jittor's own download.

Without it convolutions are 15 to 130 times slower. Jittor 1.3.11 ignores its own `mkl_include_path` setting, so the
files are laid where it would have unpacked its download.
"""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path

EXPECTED_FOLDER = "dnnl_lnx_2.2.0_cpu_gomp"  # the name Jittor looks for; any oneDNN 2.x built with GNU OpenMP fits


def find_onednn() -> tuple[str, str] | None:
    """(include folder, shared library) of a oneDNN 2.x: PyPI's onednn-cpu-gomp wheels, else Debian's libdnnl-dev."""
    places = [(os.path.join(base, "include"), os.path.join(base, "lib", "libdnnl.so.2")) for base in (sys.prefix, sys.base_prefix)]
    places += [("/usr/include", path) for path in sorted(glob.glob("/usr/lib/*/libdnnl.so.2"))]
    for include, library in places:
        if os.path.isfile(library) and os.path.isfile(os.path.join(include, "dnnl.hpp")):
            return include, library
    return None


def place_onednn(jittor_home: str) -> bool:
    """Link the headers and the library under `jittor_home`; False where there is no oneDNN to link."""
    target = Path(jittor_home) / ".cache" / "jittor" / "mkl" / EXPECTED_FOLDER
    found = find_onednn()
    if found is None:
        return (target / "lib" / "libmkldnn.so").exists()
    include, library = found
    (target / "lib").mkdir(parents=True, exist_ok=True)
    (target / "include").mkdir(parents=True, exist_ok=True)
    for header in glob.glob(os.path.join(include, "dnnl*")) + [os.path.join(include, "oneapi")]:
        _link(header, target / "include" / os.path.basename(header))
    real = os.path.realpath(library)
    _link(real, target / "lib" / "libdnnl.so.2")
    _link(real, target / "lib" / "libmkldnn.so")
    # Jittor compiles and runs an example after a download; an existing library tells it that this is done.
    return True


def _link(source: str, target: Path) -> None:
    if not os.path.exists(source) or (target.is_symlink() and os.readlink(target) == source):
        return
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    os.symlink(source, temporary)
    os.replace(temporary, target)  # also replaces a link into a virtual environment that is gone
