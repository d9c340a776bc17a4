"""Errors that belong to no room."""


class CommandError(Exception):
    """Something a user can put right: said in one sentence, without a traceback."""
