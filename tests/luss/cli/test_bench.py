import luss.cli.bench as command
from luss.cli.main import main


def test_a_failing_benchmark_is_an_error_with_its_own_words(tmp_path, capfd):
    assert main(["bench", "no_such_path", "--out", str(tmp_path)]) == 2
    assert "no_such_path: no such path" in capfd.readouterr().err


def test_an_installed_package_says_where_the_benchmarks_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.luss, "__file__", str(tmp_path / "luss" / "__init__.py"))
    assert main(["bench"]) == 2
    assert "the benchmarks are in the repository" in capsys.readouterr().err
