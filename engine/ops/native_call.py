"""A function of our native libraries as a node of Jittor's graph on the CPU: it runs on Jittor's own buffers when the graph does.

Against NumPy there and back (`.numpy()`, the host path, `jt.array`) nothing is copied, and the graph before the op need not be carried out when
the op is written down. Jittor 1.3.11 on the CPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

# Jittor compiles this text with -Ofast: it passes pointers, and computes nothing.
_SOURCE = """
auto function = reinterpret_cast<int (*)(POINTERS const double*)>(static_cast<uintptr_t>(data["function"]));
const double numbers[] = {NUMBERS};
const int status = function(ARGUMENTS numbers);
CHECK(status == 0) << "NAME failed with status" << status;
"""


def native_code(function, shapes: Sequence[Sequence[int]], dtypes: Sequence[str], inputs: Sequence, numbers: Sequence[float] = ()) -> list:
    """`function` on the buffers of `inputs`, into new variables; runs when Jittor carries them out, in its thread.

    Args:
        function: of a `ctypes.CDLL`, which must stay loaded (load_native keeps it): extern "C" int f(const void* in0, ..., void* out0, ...,
            const double* numbers); 0 is success, anything else raises RuntimeError when the outputs are computed.
        shapes, dtypes: of the outputs; none of them empty. inputs: jt.Var, contiguous as all of Jittor's are; none of them empty.
        numbers: sizes and settings; whole numbers up to 2^53 arrive exactly.

    Returns: the outputs, jt.Var. Gradient: none; wrap it in a jt.Function.
    """
    from ..runtime import jt

    pointers = [f"in{i}_p" for i in range(len(inputs))] + [f"out{i}_p" for i in range(len(shapes))]
    # A user-space address has at most 47 bits (57 with five-level tables, asked for explicitly), so it fits a double's 53.
    data = {"function": float(ctypes.cast(function, ctypes.c_void_p).value)}
    data.update({f"number{i}": float(number) for i, number in enumerate(numbers)})
    source = _SOURCE.replace("POINTERS", "".join("const void*, " if name.startswith("in") else "void*, " for name in pointers))
    source = source.replace("ARGUMENTS", "".join(f"{name}, " for name in pointers)).replace("NAME", function.__name__)
    source = source.replace("NUMBERS", ", ".join(f'data["number{i}"]' for i in range(len(numbers))) or "0")
    outputs = jt.code([tuple(shape) for shape in shapes], list(dtypes), list(inputs), cpu_src=source, data=data)
    return list(outputs)
