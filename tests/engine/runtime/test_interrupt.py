"""Requests to stop, and what processes forked after `install` make of the same signals."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def outcome(text: str) -> str:
    """What a fresh process prints: signal handlers are of a whole process."""
    command, environment = [sys.executable, "-c", textwrap.dedent(text)], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_process_itself_is_asked_and_goes_on():
    text = """
        import os, signal
        from engine.runtime import interrupt
        interrupt.install()
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            interrupt._requested = False
            os.kill(os.getpid(), number)
            print(interrupt.stop_requested())
        try:
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        except KeyboardInterrupt:
            print("at once")
    """
    assert outcome(text).split("\n") == ["True", "True", "True", "at once"]


def test_sigterm_ends_a_forked_process_and_the_others_leave_it_alone():
    """A pool's end is SIGTERM to its processes: with a handler that only takes a note of it the pool waits for ever."""
    text = """
        import os, signal, time
        from engine.runtime import interrupt
        interrupt.install()
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            for number in (signal.SIGINT, signal.SIGINT, signal.SIGUSR1):
                os.kill(os.getpid(), number)
            os.write(tell, b"1" if interrupt.stop_requested() else b"0")
            time.sleep(50)
            os._exit(5)
        print(os.read(told, 1).decode())
        os.kill(child, signal.SIGTERM)
        for _ in range(100):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                print(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM)
                break
            time.sleep(0.1)
        else:
            os.kill(child, signal.SIGKILL)
            print("still there")
        print(interrupt.stop_requested())
    """
    assert outcome(text).split("\n") == ["0", "True", "False"]
