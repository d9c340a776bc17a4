"""Errors that belong to no room."""


class CommandError(Exception):
    """Something a user can put right: said in one sentence, without a traceback."""


class MissingCompiler(RuntimeError):
    """No kernel can be compiled for a device until a user installs what the text names."""
