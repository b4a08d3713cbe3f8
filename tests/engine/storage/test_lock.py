import os
import shutil
import signal
import subprocess
import sys

import pytest

from engine.runtime.errors import LussError
from engine.storage.lock import locked_folder

HOLD = """
import sys, time
from engine.storage.lock import locked_folder
with locked_folder(sys.argv[1], 'works'):
    print('held', flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_until_the_first_is_killed(tmp_path):
    folder = tmp_path / "new" / "place"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LussError, match="place: another process packs there at this moment"), locked_folder(folder, "packs there"):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with locked_folder(folder, "packs there"):
        assert folder.is_dir()


def test_the_folder_may_go_inside_and_the_lock_is_free_again(tmp_path):
    for _ in range(2):
        with locked_folder(tmp_path / "a", "works"):
            shutil.rmtree(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_folder_taken_away_between_opening_and_locking(tmp_path, monkeypatch):
    import fcntl

    real = fcntl.flock

    def late(handle, operation):
        shutil.rmtree(tmp_path / "a")
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(LussError, match="has just ended and taken the folder away"), locked_folder(tmp_path / "a", "works"):
        pass


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(LussError, match="f: cannot be used as a folder"), locked_folder(tmp_path / "f", "works"):
        pass
    assert os.path.isfile(tmp_path / "f")
