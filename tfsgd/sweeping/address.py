"""HOST:PORT."""

from dataclasses import dataclass

from tfsgd.errors import RequestError


@dataclass(frozen=True)
class Address:
    """Where a sweep listens for workers of other machines."""

    host: str
    port: int

    @staticmethod
    def parse(text: str, option: str) -> "Address":
        """Reads HOST:PORT.

        Args:
            text: as it was typed. To listen, port 0 is whichever is free.
            option: after which it was typed.

        Raises:
            RequestError: it is no such thing.
        """
        host, colon, port = text.rpartition(":")
        least = 0 if option == "--listen" else 1
        if not (colon and host and port.isascii() and port.isdecimal() and least <= int(port) < 65536):
            raise RequestError(f"{option} {text}: expected HOST:PORT, such as 127.0.0.1:7070")
        return Address(host, int(port))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


LOOPBACK = Address("127.0.0.1", 0)
