"""The `luss` command. Importing it is cheap: Jittor, NumPy and SciPy are imported by the commands that need them."""
