"""What ends a command in one line: a request that is wrong, or nowhere to say anything any more."""


class RequestError(Exception):
    """What the user asked for cannot be done as asked.

    The message is one line: it names the key or file, says what was expected and what to do.
    """


class OutputLost(BaseException):
    """Standard output takes nothing any more: a full disk, or `| head -3`. No failure of a trial, so not an `Exception`.

    Attributes:
        reason: the error that said so.
    """

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason
