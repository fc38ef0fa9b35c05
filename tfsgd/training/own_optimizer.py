"""An optimizer of one's own: a function or class that returns a `keras.optimizers.Optimizer`."""

from functools import partial
from pathlib import Path

import keras
import tensorflow as tf

from tfsgd.errors import RequestError
from tfsgd.plan import optimizers
from tfsgd.plan.config import Experiment
from tfsgd.plan.import_string import call_own, file_of, resolve
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.user_model import NOT_NAMED


def own_optimizer(experiment: Experiment, settings: SGDSettings) -> keras.optimizers.Optimizer:
    """Calls `module:name` with the learning rate and the arguments of the config.

    Raises:
        RequestError: no person has named it, it is not there, raises, or returns no optimizer of Keras.
    """
    name = settings.optimizer
    if name not in experiment.own_code:
        raise RequestError(f"optimizer: {name}: {NOT_NAMED}")
    code_dir = Path(experiment.code_dir) if experiment.code_dir else None
    make = resolve(name, code_dir, "optimizer")
    given = optimizers.arguments(name, settings.optimizer_arguments)
    what = f"optimizer: {name} ({file_of(make)})"
    made = call_own(partial(make, learning_rate=settings.learning_rate, **given), code_dir, what)
    if not isinstance(made, keras.optimizers.Optimizer):
        raise RequestError(
            f"{what}: expected to return a keras.optimizers.Optimizer, returned {type(made).__name__}"
        )
    return made


def check_state(optimizer: keras.optimizers.Optimizer, name: str) -> None:
    """Refuses state that a checkpoint would not hold, of an optimizer that is built.

    Raises:
        RequestError: the line names the attribute.
    """
    saved = [*optimizer.variables, *getattr(optimizer, "_trainable_variables", ())]
    known = {id(one) for variable in saved for one in (variable, variable.value)}
    for attribute, value in vars(optimizer).items():
        parts = tf.nest.flatten(value) if isinstance(value, list | tuple | dict) else [value]
        kept = () if attribute.startswith("_self_") else parts  # TensorFlow's own record of what it holds
        if any(isinstance(one, tf.Variable | keras.Variable) and id(one) not in known for one in kept):
            raise RequestError(
                f"optimizer: {name}: {attribute}: a checkpoint would not hold this variable; make it with "
                "self.add_variable_from_reference or self.add_variable"
            )
