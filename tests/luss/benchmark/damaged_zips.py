"""Ways to make a submission's zip wrong, each with the kind of problem that must be named; every choice comes from a seeded generator."""

from __future__ import annotations

import stat
import struct
import zipfile
from typing import Callable

import numpy as np

from tests.luss.benchmark.damaged_maps import MAPS
from tests.luss.benchmark.submission_samples import (
    CLASSES,
    CLUSTERS,
    MATCH,
    Entry,
    K,
    changed,
    match_text,
    method_lines,
    patch_directory,
    valid_entries,
    zip_bytes,
)

Rng = np.random.Generator
ZIPS: dict[str, tuple[str, Callable[[Rng], bytes]]] = {}  # name: (kind, a damaged zip)


def _zip(kind: str):
    def register(function):
        ZIPS[function.__name__] = (kind, function)
        return function

    return register


def _some(entries: list[Entry], rng: Rng) -> int:
    """Position of some map."""
    return int(rng.choice([number for number, entry in enumerate(entries) if entry.name.endswith(".png")]))


def _zip_with(damage: Callable[[bytes, Rng], bytes]) -> Callable[[Rng], bytes]:
    """A zip in which one label map has this damage."""

    def make(rng: Rng) -> bytes:
        entries = valid_entries(False)
        position = _some(entries, rng)
        return zip_bytes(changed(entries, position, data=damage(entries[position].data, rng)))

    return make


ZIPS.update({"map_" + name: (kind, _zip_with(damage)) for name, (kind, damage) in MAPS.items()})


# --- names and numbers ----------------------------------------------------------------------------


@_zip("missing")
def map_missing(rng):
    entries = valid_entries(bool(rng.integers(2)))
    for _ in range(rng.integers(1, 4)):
        del entries[_some(entries, rng)]
    return zip_bytes(entries)


@_zip("extra")
def map_too_many(rng):
    entries = valid_entries(False)
    name = str(rng.choice(CLASSES))
    return zip_bytes([*entries, Entry(f"{name}/ILSVRC2012_val_{int(rng.integers(100, 50_000)):08d}.png", entries[0].data)])


@_zip("folder")
def map_in_another_folder(rng):
    entries = valid_entries(False)
    position = _some(entries, rng)
    folder, _, stem = entries[position].name.partition("/")
    other = CLASSES[(CLASSES.index(folder) + int(rng.integers(1, 3))) % 3]
    return zip_bytes(changed(entries, position, name=f"{other}/{stem}"))


@_zip("duplicate")
def map_twice(rng):
    entries = valid_entries(False)
    return zip_bytes([*entries, entries[_some(entries, rng)]])


@_zip("duplicate")
def method_twice(rng):
    entries = valid_entries(False)
    return zip_bytes([*entries, Entry("method.txt", rng.bytes(10))])


@_zip("duplicate")
def map_twice_but_for_case(rng):
    entries = valid_entries(False)
    other = entries[_some(entries, rng)]
    return zip_bytes([*entries, Entry(other.name.upper().replace(".PNG", ".png"), other.data)])


@_zip("stray")
def file_of_another_kind(rng):
    name = rng.choice(
        ["notes.pdf", "run.py", f"{CLASSES[0]}/a.npy", ".DS_Store", "__MACOSX/._a.png", f"{CLASSES[1]}/deeper/a.png", f"{CLASSES[0]}/Thumbs.db"]
    )
    return zip_bytes([*valid_entries(False), Entry(str(name), rng.bytes(20))])


@_zip("stray")
def folder_that_is_empty(rng):
    return zip_bytes([*valid_entries(False), Entry(f"n{int(rng.integers(10**8)):08d}/", b"", mode=stat.S_IFDIR | 0o755)])


@_zip("layout")
def folder_around_everything(rng):
    name = str(rng.choice(["test", "submission", "n00000009"]))
    return zip_bytes([Entry(f"{name}/{entry.name}", entry.data) for entry in valid_entries(True)])


@_zip("layout")
def maps_at_the_root_and_in_folders(rng):
    entries = valid_entries(False)
    position = _some(entries, rng)
    return zip_bytes(changed(entries, position, name=entries[position].name.partition("/")[2]))


@_zip("missing")
def nothing_in_it(rng):
    return zip_bytes([])


# --- what a hostile zip does ----------------------------------------------------------------------


@_zip("traversal")
def name_climbs_out(rng):
    up = "../" * int(rng.integers(1, 9))
    name = str(rng.choice([f"{up}evil.png", f"{CLASSES[0]}/{up}evil.png", f"{CLASSES[0]}/..", f"./{up}evil.png", f"{CLASSES[0]}//evil.png"]))
    return zip_bytes([*valid_entries(False), Entry(name, b"evil")])


@_zip("traversal")
def name_is_absolute(rng):
    return zip_bytes([*valid_entries(False), Entry(str(rng.choice(["/tmp/evil.png", "//host/evil.png", "C:/evil.png", "c:evil.png"])), b"evil")])


@_zip("traversal")
def name_with_backslash(rng):
    return zip_bytes([*valid_entries(False), Entry(str(rng.choice(["..\\evil.png", f"{CLASSES[0]}\\evil.png", "\\\\host\\evil.png"])), b"evil")])


@_zip("traversal")
def name_with_zero_byte(rng):
    return zip_bytes([*valid_entries(False), Entry("evil@.png", b"evil")]).replace(b"evil@.png", b"evil\0.png")


@_zip("zip")
def name_not_utf8(rng):
    return zip_bytes([*valid_entries(False), Entry("evil\u00e9.png", b"evil")]).replace("evil\u00e9".encode(), b"evil\xff\xfe")


@_zip("link")
def symbolic_link(rng):
    entries = valid_entries(False)
    position = int(rng.integers(len(entries)))
    target = rng.choice([b"/etc/passwd", b"../../evil"])
    return zip_bytes(changed(entries, position, data=bytes(target), mode=stat.S_IFLNK | 0o777))


@_zip("link")
def special_file(rng):
    entries = valid_entries(False)
    kind = int(rng.choice([stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR]))
    return zip_bytes(changed(entries, _some(entries, rng), mode=kind | 0o644))


@_zip("encrypted")
def encrypted_entry(rng):
    return patch_directory(zip_bytes(valid_entries(False)), int(rng.integers(9)), 8, "<H", int(rng.choice([0x1, 0x41, 0x2001])))


@_zip("compression")
def unusual_compression(rng):
    entries = valid_entries(False)
    return zip_bytes(changed(entries, _some(entries, rng), compression=int(rng.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))))


@_zip("compression")
def unknown_compression(rng):
    return patch_directory(zip_bytes(valid_entries(False)), int(rng.integers(9)), 10, "<H", int(rng.choice([1, 9, 99, 60_000])))


@_zip("bomb")
def entry_of_zeros(rng):
    entries = valid_entries(False)
    zeros = bytes(int(rng.integers(1, 4)) << 20)
    return zip_bytes(changed(entries, int(rng.integers(len(entries))), data=zeros, compression=zipfile.ZIP_DEFLATED))


@_zip("bomb")
def entry_claims_gigabytes(rng):
    return patch_directory(zip_bytes(valid_entries(False)), int(rng.integers(10)), 24, "<I", int(rng.integers(1 << 30, (1 << 32) - 1)))


@_zip("bomb")
def entries_that_overlap(rng):
    data = zip_bytes(valid_entries(False))
    return patch_directory(data, int(rng.integers(10)), 20, "<I", len(data) + int(rng.integers(1, 10**6)))


@_zip("bomb")
def all_together_too_large(rng):
    data = zip_bytes(valid_entries(False) + [Entry(f"a/{number}.png", b"x") for number in range(300)])
    for position in range(10, 310):
        data = patch_directory(data, position, 24, "<I", 32 << 20)
    return data


@_zip("zip")
def list_of_entries_too_large(rng):
    data = zip_bytes(valid_entries(False))
    end = data.rindex(b"PK\5\6")
    return data[: end + 12] + struct.pack("<I", int(rng.integers(1 << 28, 1 << 31))) + data[end + 16 :]


# --- damage ---------------------------------------------------------------------------------------


@_zip("zip")
def zip_cut_short(rng):
    data = zip_bytes(valid_entries(False))
    return data[: int(rng.integers(0, len(data) - 22))]


@_zip("zip")
def zip_is_something_else(rng):
    return [b"", rng.bytes(3000), valid_entries(False)[0].data, b"PK\3\4" + rng.bytes(300), b"\x1f\x8b\x08" + rng.bytes(100)][int(rng.integers(5))]


@_zip("zip")
def zip_list_damaged(rng):
    data = zip_bytes(valid_entries(False))
    place = data.index(b"PK\1\2")
    return data[:place] + b"XX" + data[place + 2 :]


@_zip("damage")
def checksum_differs(rng):
    return patch_directory(zip_bytes(valid_entries(False)), int(rng.integers(10)), 16, "<I", int(rng.integers(1, 1 << 32)))


@_zip("damage")
def packed_bytes_damaged(rng):
    entries = [Entry(entry.name, entry.data, zipfile.ZIP_DEFLATED) for entry in valid_entries(False)]
    data = bytearray(zip_bytes(entries))
    start = data.index(entries[int(rng.integers(9))].name.encode()) + len(entries[0].name)
    data[start : start + 20] = rng.bytes(20)
    return bytes(data)


@_zip("damage")
def local_header_damaged(rng):
    data = zip_bytes(valid_entries(False))
    place = data.index(valid_entries(False)[int(rng.integers(9))].name.encode())
    return data[:place] + b"m" + data[place + 1 :]


@_zip("damage")
def entry_longer_than_claimed(rng):
    entries = valid_entries(False)
    position = _some(entries, rng)
    data = zip_bytes(changed(entries, position, data=bytes(50 << 20), compression=zipfile.ZIP_DEFLATED))
    return patch_directory(data, position, 24, "<I", int(rng.integers(100, 5000)))


@_zip("damage")
def entry_shorter_than_claimed(rng):
    data = zip_bytes(valid_entries(False))
    position = int(rng.integers(9))
    return patch_directory(data, position, 24, "<I", len(valid_entries(False)[position].data) + int(rng.integers(1, 50)))


# --- texts ----------------------------------------------------------------------------------------


def _method(data: bytes) -> bytes:
    return zip_bytes([entry for entry in valid_entries(False) if entry.name != "method.txt"] + [Entry("method.txt", data)])


def _match(data: bytes) -> bytes:
    return zip_bytes([entry for entry in valid_entries(True) if entry.name != "match.json"] + [Entry("match.json", data)])


@_zip("method")
def method_missing(rng):
    return zip_bytes([entry for entry in valid_entries(bool(rng.integers(2))) if entry.name != "method.txt"])


@_zip("method")
def method_with_lines_missing_or_added(rng):
    lines = method_lines()
    place = int(rng.integers(6))
    lines = lines[:place] + lines[place + 1 :] if rng.integers(2) else [*lines[:place], "", *lines[place:]]
    return _method("\n".join(lines).encode())


@_zip("method")
def method_with_another_label(rng):
    lines = method_lines()
    lines[int(rng.integers(6))] = str(rng.choice(["Name: PASS", "no colon", "Link: a", "method name: PASS"]))
    return _method("\n".join(lines).encode())


@_zip("method")
def method_in_another_order(rng):
    lines = method_lines()
    return _method("\n".join(lines[1:] + lines[:1]).encode())


@_zip("method")
def method_with_an_empty_line(rng):
    lines = method_lines()
    place = int(rng.integers(6))
    lines[place] = lines[place].partition(":")[0] + ":  "
    return _method("\n".join(lines).encode())


@_zip("method")
def method_not_text(rng):
    return _method(b"\xff\xfe" + rng.bytes(100))


@_zip("method")
def method_with_control_characters(rng):
    lines = method_lines()
    lines[0] += "\x1b[2J"
    return _method("\n".join(lines).encode())


@_zip("match")
def match_key_twice(rng):
    return _match(match_text(MATCH).replace(b"{", b'{"%d": 1, ' % rng.integers(1, CLUSTERS + 1), 1))


@_zip("match")
def match_without_zero(rng):
    return _match(match_text(MATCH).replace(b', "0": 0', b""))


@_zip("match")
def match_zero_is_a_class(rng):
    return _match(match_text(MATCH).replace(b'"0": 0', b'"0": %d' % rng.integers(1, K + 1)))


@_zip("match")
def match_class_out_of_range(rng):
    return _match(match_text({**MATCH, int(rng.integers(1, 6)): int(rng.choice([-1, K + 1, 1000, 10**30 % 2**40]))}))


@_zip("match")
def match_class_no_integer(rng):
    wrong = rng.choice([b'"1"', b"1.0", b"null", b"true", b"[1]", b"NaN", b"1e999"])
    return _match(match_text(MATCH).replace(b": 3", b": " + bytes(wrong), 1))


@_zip("match")
def match_key_no_id(rng):
    return _match(match_text(MATCH).replace(b'"1"', bytes(rng.choice([b'"01"', b'"a"', b'"-1"', b'"1.0"', b'""', b'"70000"', b'"\\u0661"'])), 1))


@_zip("match")
def match_not_json(rng):
    return _match([b"", b"{", b"[1, 2]", b"3", b'{"1": 1,}', b"\xff", b"[" * 100_000, b'{"1":' * 20_000, b"9" * 5000][int(rng.integers(9))])


@_zip("match")
def match_empty(rng):
    return _match(bytes(rng.choice([b"{}", b'{"0": 0}'])))


@_zip("ids")
def match_lacks_an_id_that_occurs(rng):
    absent = int(rng.integers(1, CLUSTERS + 1))
    return _match(match_text({key: value for key, value in MATCH.items() if key != absent}))
