"""`python -m luss.cli` is the `luss` command."""

from luss.cli.main import run

run()
