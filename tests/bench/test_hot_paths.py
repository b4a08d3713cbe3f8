import json
import sys

import pytest

from bench import hot_paths
from tests.bench.test_harness import result

FILE = '''"""A path that adds."""
import sys
sys.path.insert(0, {root!r})
from bench.harness import Case, main
import numpy as np

def cases():
    x = np.ones(1000, np.float32)
    sides = {{"ours": lambda: x + x, "numpy": lambda: np.add(x, x)}}
    return [Case("adding", name, lambda: sides, 1e3, 1.2e4, {{"numpy": 0.01}}) for name in ("a", "b")]

if __name__ == "__main__":
    main(cases)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "bench_adding.py").write_text(FILE.format(root=str(hot_paths.FOLDER.parent)))
    (tmp_path / "bench_broken.py").write_text("\ndef cases():\n    pass\n\n\nraise SystemExit('the sides differ')\n")
    (tmp_path / "bench_script.py").write_text("print('another kind of benchmark')\n")
    monkeypatch.setattr(hot_paths, "FOLDER", tmp_path)
    return tmp_path


def run(monkeypatch, *words) -> int:
    monkeypatch.setattr(sys, "argv", ["hot_paths.py", *words])
    return hot_paths.main()


def test_results_go_to_json_and_markdown(folder, monkeypatch, capfd):
    assert run(monkeypatch, "adding", "--rounds", "2", "--out", str(folder / "out")) == 0
    assert capfd.readouterr().out.count("ratio") == 2
    content = json.loads((folder / "out" / "bench.json").read_text())
    assert [r["name"] for r in content["results"]] == ["a", "b"] and content["limits"]["copy"] > 0
    assert content["results"][0]["ratios"]["numpy"] == content["results"][0]["seconds"]["numpy"] / content["results"][0]["seconds"]["ours"]
    assert "| adding | b |" in (folder / "out" / "bench.md").read_text()


def test_a_file_that_fails_is_named_and_the_others_run(folder, monkeypatch, capfd):
    assert run(monkeypatch, "--rounds", "1", "--only", "a", "--out", str(folder / "out")) == 1
    said = capfd.readouterr()
    assert "failed: broken" in said.err and "the sides differ" in said.err and "another kind" not in said.out
    assert len(json.loads((folder / "out" / "bench.json").read_text())["results"]) == 1


def test_an_unknown_path_is_refused_before_anything_runs(folder, monkeypatch, capfd):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "adding", "multiplying")
    assert stopped.value.code == 2 and "multiplying: no such path; there are adding, broken" in capfd.readouterr().err


def test_where_there_is_a_gpu_the_kernels_are_checked_on_it(folder, monkeypatch, capfd):
    (folder / "bench_broken.py").unlink()
    asked = []
    monkeypatch.setattr(hot_paths, "driver_present", lambda: True)
    for passed, code in ((True, 0), (False, 1)):
        monkeypatch.setattr(hot_paths, "run_gpu_check", lambda where, passed=passed: asked.append(where) or passed)
        assert run(monkeypatch, "--rounds", "1", "--only", "a", "--out", str(folder / "out")) == code
    assert asked == 2 * [folder / "out" / "gpu"] and "failed: gpu_check" in capfd.readouterr().err


def test_without_a_gpu_its_check_says_so_and_does_not_pass(tmp_path, capfd):
    if hot_paths.driver_present():
        pytest.skip("this machine has an NVIDIA driver")
    assert not hot_paths.run_gpu_check(tmp_path / "gpu")
    assert "no nvidia-smi" in capfd.readouterr().out


def test_the_table_has_a_row_for_every_peer():
    lines = hot_paths.markdown([result()]).splitlines()
    assert lines[2] == "| op | small | 2 | numpy: 10 | 5.00 | 4 | 50 % (copy) | 1.0, 2.0 |"
    assert len(lines) == 4 and lines[3].startswith("| op | small | 2 | torch: 3 | 1.50 | 2 |")


def test_the_picture_is_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[bench]'")
    from bench.roofline import draw

    draw(tmp_path / "roofline.png", "a machine", {"copy": 1e10, "matrix": 1e11}, [result(), result(path="other", operations=1e9)])
    assert (tmp_path / "roofline.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
