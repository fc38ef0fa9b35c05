"""How many images a network still knows when they are corrupted: the config's `corruptions` block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from tfsgd.data.corrupted_sets import SETS, corrupted_images, part_of
from tfsgd.data.tfds import prepare
from tfsgd.fields import Count, OneOrMore
from tfsgd.measures.corruptions import FAMILIES, SEVEREST, corrupted
from tfsgd.measures.spec import Kind, Request, Spec
from tfsgd.measures.victim import Images, Labels
from tfsgd.text import nearest

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

Severity = Annotated[int, Field(strict=True, ge=1, le=SEVEREST)]


class Corruptions(Spec):
    """Accuracy on test images under corruptions, see `tfsgd.measures.corruptions`.

    Its values are `accuracy`, the mean over families and severities; `clean_accuracy`, on the same images as they are;
    `families`; and `accuracies`, for each family in this order a list over the severities. Every network of a grid sees
    the same corrupted images.

    Cost: a forward pass over the images for each family and severity.

    Attributes:
        tfds: a published corrupted test set of TensorFlow Datasets, whose images take the place of tfsgd's own.
        families: of corruptions; by default all but `identity`, which is clean accuracy; of a published set all.
        severities: from 1 to 5; MNIST-C has one.
        examples: of the test images, from the first on; by default all.
    """

    kind: ClassVar[Kind] = "corruption"

    tfds: Literal["mnist_corrupted", "cifar10_corrupted"] | None = None
    families: OneOrMore[str] = tuple(family for family in FAMILIES if family != "identity")
    severities: OneOrMore[Severity] = (1, 3, 5)
    examples: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_the_set(cls, raw: Any) -> Any:
        """The defaults of a published set."""
        known = SETS.get(str(raw.get("tfds"))) if isinstance(raw, dict) else None
        if known is None:
            return raw
        few = {"severities": known.severities} if len(known.severities) == 1 else {}
        return {"families": known.families, **few, **raw}

    @field_validator("families", "severities")
    @classmethod
    def _known(cls, asked: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        known = SETS.get(str(info.data.get("tfds")))
        all_of = {
            "families": known.families if known else FAMILIES,
            "severities": known.severities if known else range(1, SEVEREST + 1),
        }[str(info.field_name)]
        for one in asked:
            if one not in all_of:
                near = nearest(str(one), [*map(str, all_of)])
                raise ValueError(f"expected some of {', '.join(map(str, all_of))}, received '{one}'{near}")
        return asked

    def settings(self) -> dict[str, Any]:
        """Without a published set nothing is told of it."""
        return {key: value for key, value in super().settings().items() if (key, value) != ("tfds", None)}

    def unfit(self, dataset: str) -> str:
        """Why a data set cannot be measured so, in one line that begins with the key; empty: it can."""
        if self.tfds is None or SETS[self.tfds].of == dataset:
            return ""
        return f"tfds: {self.tfds} is for {SETS[self.tfds].of}, the data set is {dataset}"

    def prepare(self) -> None:
        """Gets the parts of a published set that are not there.

        Raises:
            RequestError: one is not to be had.
        """
        if self.tfds:
            parts = [part_of(self.tfds, family, each) for family in self.families for each in self.severities]
            for part in (SETS[self.tfds].clean, *parts):
                prepare(part)

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        images, labels = subject.images(request.split, request.examples)
        counterparts = self._counterparts(images, labels, request.seed)
        accuracies = [
            [
                float((subject.victim.predict(counterparts(family, severity)) == labels).mean())
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

    def _counterparts(self, images: Images, labels: Labels, seed: int) -> Callable[[str, int], Images]:
        """Family and severity -> the corrupted images."""
        if self.tfds:
            return corrupted_images(self.tfds, images, labels)
        return lambda family, severity: corrupted(images, family, severity, seed)
