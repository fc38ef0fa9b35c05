"""How many images a network still knows when they are corrupted: the config's `corruptions` block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from tfsgd.fields import Count, OneOrMore
from tfsgd.measures.corruptions import FAMILIES, SEVEREST, corrupted
from tfsgd.measures.spec import Kind, Request, Spec
from tfsgd.text import nearest

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject


def _known(family: str) -> str:
    if family not in FAMILIES:
        raise ValueError(
            f"expected some of {', '.join(FAMILIES)}, received '{family}'{nearest(family, FAMILIES)}"
        )
    return family


Family = Annotated[str, AfterValidator(_known)]
Severity = Annotated[int, Field(strict=True, ge=1, le=SEVEREST)]


class Corruptions(Spec):
    """Accuracy on test images under corruptions, see `tfsgd.measures.corruptions`.

    Its values are `accuracy`, the mean over families and severities; `clean_accuracy`, on the same images as they are;
    `families`; and `accuracies`, for each family in this order a list over the severities. Every network of a grid sees
    the same corrupted images.

    Cost: a forward pass over the images for each family and severity.

    Attributes:
        families: of corruptions; by default all but `identity`, which is clean accuracy.
        severities: from 1 to 5.
        examples: of the test images, from the first on; by default all.
    """

    kind: ClassVar[Kind] = "corruption"

    families: OneOrMore[Family] = tuple(family for family in FAMILIES if family != "identity")
    severities: OneOrMore[Severity] = (1, 3, 5)
    examples: Count | None = None

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        images, labels = subject.images(request.split, request.examples)
        accuracies = [
            [
                float(
                    (
                        subject.victim.predict(corrupted(images, family, severity, request.seed)) == labels
                    ).mean()
                )
                for severity in self.severities
            ]
            for family in self.families
        ]
        every = [accuracy for of_family in accuracies for accuracy in of_family]
        return {
            "accuracy": sum(every) / len(every),
            "clean_accuracy": float(subject.clean(request.split, request.examples).mean()),
            "families": list(self.families),
            "accuracies": accuracies,
        }
