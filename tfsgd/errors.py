"""The error that means "the request is wrong": shown as one line, exit code 2."""


class RequestError(Exception):
    """What the user asked for cannot be done as asked.

    The message is one line: it names the key or file, says what was expected and what to do.
    """
