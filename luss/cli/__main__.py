"""`python -m luss.cli` is the `luss` command."""

import sys

from luss.cli.main import main

sys.exit(main())
