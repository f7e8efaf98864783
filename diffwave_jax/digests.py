"""The digests of a checkpoint's items: a byte that changes on the disk is noticed before it is used.

A step's folder holds `sha256.json`, which gives for each item (each folder in it) the SHA-256 of the list that
`find . -type f | sort | xargs sha256sum` prints in that folder, its paths without the leading `./`.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

RECORD = "sha256.json"


def write(step: Path) -> None:
    """Records the digests of all items in a step's folder."""
    items = sorted(path.name for path in step.iterdir() if path.is_dir())
    (step / RECORD).write_text(json.dumps({item: digest(step / item) for item in items}, indent=1) + "\n")


def recorded(step: Path) -> dict[str, str] | None:
    """{item: digest} as recorded in a step's folder; None in a checkpoint from before there were digests.

    Raises:
      ValueError: the record is damaged.
    """
    if not (step / RECORD).exists():
        return None
    record = json.loads((step / RECORD).read_bytes())
    if not isinstance(record, dict) or not {"params", "config"} <= record.keys():
        raise ValueError(f"its {RECORD} is damaged")
    return record


def verify(step: Path, items: Iterable[str]) -> bool:
    """Whether there was a record to compare these items of a step's folder with.

    Raises:
      ValueError: an item is not what was written, or the record is damaged.
    """
    record = recorded(step)
    if record is None:
        return False
    for item in items:
        if record.get(item) != digest(step / item):
            raise ValueError(f"its part {item} is not what was written: a file in it has changed")
    return True


@contextlib.contextmanager
def verifying(step: Path, items: Iterable[str]) -> Iterator[Future[bool]]:
    """A block that reads these items of a step's folder while threads verify them; what it reads counts after its end.

    Yields:
      What `verify` will return.

    Raises:
      ValueError: as `verify` does, at the block's end and in place of whatever a changed item made the block raise.
    """
    with ThreadPoolExecutor(1) as pool:
        verdict = pool.submit(verify, step, items)
        try:
            yield verdict
        finally:
            verdict.result()


def digest(item: Path) -> str:
    """The SHA-256 of all files in an item's folder, with their names, in hexadecimal."""
    files = sorted(path.relative_to(item).as_posix() for path in item.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:  # hashing leaves the interpreter to others
        sums = list(pool.map(lambda name: _sha256(item / name), files))
    lines = (f"{file_sum}  {name}\n" for file_sum, name in zip(sums, files, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
