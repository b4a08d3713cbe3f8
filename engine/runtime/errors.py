"""Errors that are the user's to mend: printed as one message, without a traceback, exit code 2."""


class LussError(Exception):
    """Bad input: the message says where, what was found, what was expected and what to do."""


class RuntimeSetupError(LussError):
    """This machine lacks something without which Jittor cannot run."""
