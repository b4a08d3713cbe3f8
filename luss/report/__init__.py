"""The HTML report of a run: `from luss.report.html import write_report`. Reads files only: NumPy and Pillow, never Jittor."""
