"""Records of schema 1 -> schema 2: the same numbers under the names of today."""

from collections.abc import Mapping
from typing import Any

from tfsgd.data.load import DATASETS
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.natural import ZeroGradients
from tfsgd.measures.spec import Request, Split
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.trials import Training
from tfsgd.plan.wanted import HESSIAN, SPLITS, TOP_EIGENVALUE, natural
from tfsgd.structure import PAPER_STRUCTURES

Json = dict[str, Any]


def upgraded(old: Json, hessian: Mapping[str, Any]) -> Json:
    """A record of schema 1 in the form of schema 2. Whatever is of schema 2 is passed through.

    Args:
        old: the content of a `record.json`.
        hessian: the `hessian` block of the folder's `experiment.yaml`, since schema 1 does not say when the
            power iteration was to stop; empty where there is none: the defaults.

    Raises:
        KeyError, ValueError, TypeError: it is neither.
    """
    if "schema" in old or "config_hash" not in old:
        return old
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
    new = [request.measured(values, None).model_dump(mode="json") for request, values in found]
    for measurement in new:
        measurement["settings"].pop("method", None)  # of λ1: schema 1 does not say which one it was
    return new


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
