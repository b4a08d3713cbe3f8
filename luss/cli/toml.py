"""Settings as TOML text. The standard library reads TOML but does not write it."""

from __future__ import annotations

import json


def dump_settings(tree: dict[str, dict]) -> str:
    """{'section': {'name': value}} as TOML; values are bool, int, float, str or lists of them."""
    return "\n".join(f"[{section}]\n" + "".join(f"{name} = {_value(value)}\n" for name, value in keys.items()) for section, keys in tree.items())


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's too
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)
