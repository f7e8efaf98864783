"""What a checkpoint of the original's `train.py` holds, whichever side it came from.

`{model_state_dict, optimizer_state_dict (of torch.optim.Adam), steps, lr}`; all but the first may be missing.
"""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

ADAM_HYPERPARAMETERS = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}

Arrays = Mapping[str, np.ndarray | jax.Array]


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam's state under our names and in our layout.

    Attributes:
      count: updates done.
      mu: first moments, {dotted name: array}.
      nu: second moments.
    """

    count: int
    mu: Arrays
    nu: Arrays


@dataclasses.dataclass(frozen=True)
class Contents:
    """A checkpoint under our names and in our layout.

    Attributes:
      model: the config's `model` section.
      weights: {dotted name: float32 array}.
      step: training steps done.
      learning_rate: that the next step would have; None where unknown.
      adam: optimizer state; None where there is none.
      average: the weights' moving average, as `weights`; None where there is none.
      average_decay: of that average, where the file says it.
      sections: fields of other sections of the config, {section: {field: value}}, that are not what they usually are.
      recognised: what a foreign file turned out to be, in words: the network first, then how it was wrapped.
      state_learning_rate: of S4's state spaces, where they are trained at a rate of their own; None where unknown.
      weight_decay: AdamW's.
    """

    model: dict
    weights: Arrays
    step: int = 0
    learning_rate: float | None = None
    adam: Adam | None = None
    average: Arrays | None = None
    average_decay: float | None = None
    sections: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
    recognised: tuple[str, ...] = ()
    state_learning_rate: float | None = None
    weight_decay: float = 0.0
