"""Records of earlier versions: the same numbers under the names of today.

Schema 1 becomes schema 2. In both, what was measured before the cross-entropy was exact is told from what was measured
after: an attack is one by `softmax_cross_entropy`, and keeps its identity under that setting.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tfsgd.data.load import DATASETS
from tfsgd.measures.attack import SOFTMAX
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.input_gradient import InputGradient
from tfsgd.measures.spec import Request, Spec, Split
from tfsgd.measures.zero_gradients import ZeroGradients
from tfsgd.models.structure import PAPER_STRUCTURES
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.requests import HESSIAN, SPLITS, TOP_EIGENVALUE, natural
from tfsgd.plan.specs import curvature_measure
from tfsgd.plan.trials import Training

Json = dict[str, Any]

BY_SOFTMAX = "-softmax"  # at the end of the label of an attack that was measured before
GRADIENT_ATTACKS = ("fgsm", "pgd", "bim", "apgd", "transfer")
SURE = 1e-3  # nats: below this train loss a mean may have lost what counts to images of which the network is sure


def upgraded(old: Json, hessian: Mapping[str, Any]) -> Json:
    """A record as this version has it; whatever is new is passed through.

    Args:
        old: the content of a `record.json`.
        hessian: the `hessian` block of the folder's `experiment.yaml`, since schema 1 does not say when the
            power iteration was to stop; empty where there is none: the defaults.

    Raises:
        KeyError, ValueError, TypeError: it is neither.
    """
    new = old if "schema" in old or "config_hash" not in old else _of_schema_1(old, hessian)
    try:
        return new | _told_losses(new)
    except (KeyError, ValueError, TypeError, AttributeError):
        return new  # what is wrong with it is said when it is validated


def _told_losses(record: Json) -> Json:
    """The measurements of a record and its snapshots."""
    losses = [m["values"].get("loss") for m in record["measurements"] if m["label"] == "train"]
    told = {"measurements": _with_losses(record["measurements"], *losses[:1])}
    if record.get("snapshots"):
        told["snapshots"] = [
            s | {"measurements": _with_losses(s["measurements"], s["loss"])} for s in record["snapshots"]
        ]
    return told


def _with_losses(measurements: Iterable[Json], train_loss: float | None = None) -> list[Json]:
    return [m if "revision" in m["settings"] else _with_its_loss(m, train_loss) for m in measurements]


def _with_its_loss(old: Json, train_loss: float | None) -> Json:
    """What was measured before the cross-entropy was exact, as what it is.

    A mean over images that are not all sure was right before: the terms that float32 lost are below 1e-7 nats.
    """
    settings = old["settings"]
    if old["name"] in GRADIENT_ATTACKS and settings.get("loss", "cross_entropy") == "cross_entropy":
        return old | {"label": old["label"] + BY_SOFTMAX, "settings": settings | {"loss": SOFTMAX}}
    spec = _mean(old)
    if spec is None or train_loss is None or train_loss < SURE:
        return old
    request = Request(old["name"], old["label"], spec, old["split"], old["examples"], old["seed"])
    if request.identity_at(1) != old["identity"] or spec.revised == 1:
        return old
    return old | {
        "settings": settings | {"revision": spec.revised},
        "identity": request.identity,
    }


def _mean(old: Json) -> Spec | None:
    """The settings of a mean over images whose only mending was the cross-entropy; `None`: it is none."""
    if old["name"] == "input_gradient":
        return InputGradient()
    if old["kind"] != "curvature" or old["name"] == "input_eigenvalue" or ":" in old["name"]:
        return None
    images = {key: old[key] for key in ("examples", "split")}
    return curvature_measure(old["name"], {**old["settings"], **images}, None)


def _of_schema_1(old: Json, hessian: Mapping[str, Any]) -> Json:
    sgd = SGDSettings(
        *(old[key] for key in ("batch_size", "momentum", "learning_rate", "halve_every_epochs"))
    )
    all_examples = DATASETS[old["dataset"]].train
    training = Training(
        old["dataset"], old["data_sha256"], old["model"], PAPER_STRUCTURES[old["model"]],
        None if old["train_examples"] == all_examples else old["train_examples"], old["epochs"], sgd, old["seed"],
    )  # fmt: skip
    same = ("name", "dataset", "model", "regime", "regimes", "seed", "epochs", "profile", "status", "history")
    return {
        "schema": 2,
        **{key: old[key] for key in same},
        "sgd": vars(sgd),
        "train_examples": old["train_examples"],
        "classes": DATASETS[old["dataset"]].classes,
        "batch_norm": old["model"] in ("c1", "resnet18"),
        "measurements": [] if old["status"] == "diverged" else _measurements(old, hessian),
        "seconds": old["seconds"],
        "provenance": {
            key: old[key] for key in ("versions", "device", "threads", "onednn", "replicas", "git_commit")
        },
        "data_sha256": old["data_sha256"],
        "model_sha256": training.model_sha256,
        "cut": training.train_examples is not None,
        "batch_order": training.batch_order,
        "training_hash": training.hash,
    }


def _measurements(old: Json, hessian: Mapping[str, Any]) -> list[Json]:
    sizes: dict[Split, int] = {split: old[f"{split}_examples"] for split in SPLITS}
    found: list[tuple[Request, Json]] = [
        (r, {key: old[f"{r.split}_{key}"] for key in ("loss", "accuracy") if f"{r.split}_{key}" in old})
        for r in natural(sizes)
    ]
    top = old["hessian"]
    stop = {key: hessian[key] for key in ("max_iterations", "tolerance") if key in hessian}
    spec = TopEigenvalue(examples=top["examples"], split=top["split"], **stop)
    found.append(
        (
            Request(TOP_EIGENVALUE, HESSIAN, spec, spec.split, spec.examples),
            {
                "value": top["eigenvalue"],
                "error": top["residual"],
                "products": top["iterations"],
                "converged": top["converged"],
            },
        )
    )
    found += [
        (_attack(a, old["seed"]), {k: a[k] for k in ("accuracy", "clean_accuracy")}) for a in old["attacks"]
    ]
    zero = Request("zero_gradients", "zero_gradients", ZeroGradients(), "test", sizes["test"])
    found.append((zero, {"fraction": old["zero_gradient_fraction"]}))
    new = [_at_first(request, values) for request, values in found]
    for measurement in new:
        measurement["settings"].pop("method", None)  # of λ1: schema 1 does not say which one it was
    return new


def _at_first(request: Request, values: Json) -> Json:
    """A measurement as the first revision of its measure left it."""
    made = request.measured(values, None).model_dump(mode="json")
    made["settings"].pop("revision", None)
    return made | {"identity": request.identity_at(1)}


def _attack(old: Json, seed: int) -> Request:
    epsilon = old["epsilon"]
    if old["name"] == "fgsm":
        spec: FGSM | PGD = FGSM(attack="fgsm", epsilon=(epsilon,))
    else:
        # Twelve digits: the quotient is the number in the config, without the rounding of the product.
        relative = (
            float(f"{old['step_size'] / epsilon:.12g}")
            if epsilon
            else PGD.model_fields["relative_step_size"].default
        )
        settings = {key: old[key] for key in ("steps", "random_start", "restarts", "early_stop")}
        spec = PGD(attack="pgd", epsilon=(epsilon,), relative_step_size=relative, **settings)
    return Request(
        old["name"], old["name"], spec, "test", old["examples"], seed, epsilon, more=spec.at(epsilon)
    )
