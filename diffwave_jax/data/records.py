"""Prepared clips as they lie on disk: examples of TFDS, read without its general decoder, which takes twice as long."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tensorflow_datasets.core.decode import DeserializeMethod
from tensorflow_datasets.proto import tf_example_pb2


class Records:
    """The clips of one split, each `{"audio": int16 (n,), "label", "recorded": int, "speaker", "name": bytes}`.

    Args:
      builder: the TFDS builder that has prepared them.
      split: its name.
    """

    def __init__(self, builder: Any, split: str):
        self._source = builder.as_data_source(split, deserialize_method=DeserializeMethod.RAW_BYTES)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        return _decoded(self._source[index])

    def __getitems__(self, indices: Sequence[int]) -> list[dict]:
        return [_decoded(record) for record in self._source.__getitems__(indices)]


def _decoded(record: bytes) -> dict:
    """What `ClipBuilder` wrote: a number in each list, or a string of bytes."""
    feature = tf_example_pb2.Example.FromString(record).features.feature  # pyright: ignore[reportAttributeAccessIssue]
    numbers = {name: feature[name].int64_list.value[0] for name in ("label", "recorded")}
    texts = {name: feature[name].bytes_list.value[0] for name in ("speaker", "name")}
    return {"audio": np.frombuffer(feature["audio"].bytes_list.value[0], np.int16), **numbers, **texts}
