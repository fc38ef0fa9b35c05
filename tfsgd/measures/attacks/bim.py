"""BIM: the basic iterative method (Kurakin et al. 2017), PGD that starts at the image itself."""

from typing import Annotated, Literal

from pydantic import Field

from tfsgd.measures.attacks.pgd import PGD


class BIM(PGD):
    """PGD without a random start, and so without restarts."""

    random_start: Literal[False] = False
    restarts: Annotated[int, Field(strict=True, ge=1, le=1)] = 1
