"""Progress with rate and time left: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm


class Progress:
    """Context manager; `update(n, **figures)` after each piece of work.

    Args:
        title: what is being done, a few words.
        total, start: pieces in all, and those done before this process began (they do not count in the rate).
        unit: what a piece is called, singular.
        quiet: write nothing.
        stream: where to write; standard error by default.
        clock: seconds from any beginning, for the plain lines.
    """

    INTERVAL = 30.0  # seconds between plain lines

    def __init__(self, title: str, total: int, unit: str = "step", start: int = 0, quiet: bool = False, stream=None, clock=time.monotonic):
        self.title, self.total, self.unit, self.done, self.start, self.quiet = title, total, unit, start, start, quiet
        self.stream, self.clock = stream or sys.stderr, clock
        self._begin = self._said = clock()
        self._figures: dict[str, float] = {}
        terminal = not quiet and self.stream.isatty()
        self._bar = tqdm(total=total, initial=start, desc=title, unit=unit, file=self.stream, dynamic_ncols=True) if terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def update(self, n: int = 1, **figures: float) -> None:
        """Count `n` more pieces; the latest figures (a loss, say) are shown with them until others come."""
        self.done += n
        self._figures = figures or self._figures
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in self._figures.items()}, refresh=False)
            self._bar.update(n)
        elif not self.quiet and self.clock() - self._said >= self.INTERVAL:
            self._line()

    def close(self) -> None:
        """Write the last line, or leave the bar as it stands; nothing where nothing was done. May be called again."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif not self.quiet and self.done > self.start:
            self._line()
        self.quiet = True

    def _line(self) -> None:
        seconds = max(self.clock() - self._begin, 1e-9)
        rate = (self.done - self.start) / seconds
        left = (self.total - self.done) / rate if rate else float("inf")
        figures = "".join(f", {name} {value:.4g}" for name, value in self._figures.items())
        remaining = f", {_duration(left)} left" if self.done < self.total else f", {_duration(seconds)} in all"
        print(f"{self.title}: {self.done}/{self.total} {self.unit}s, {rate:.3g} {self.unit}s/s{remaining}{figures}", file=self.stream, flush=True)
        self._said = self.clock()


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "unknown time"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
