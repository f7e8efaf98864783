"""Puts a trained classifier of digits into the package: python tools/bundle_classifier.py RUN FSDD_ARCHIVE.

Weights as float16, and FSDD as the classifier with those weights hears it.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from half import size, write_half

from diffwave_jax.evaluation import reference
from diffwave_jax.evaluation.recognition import BUNDLED, load_recogniser


def main(run: str, archive: str) -> None:
    """Writes checkpoint and reference, and prints the accuracy and the size."""
    folder = Path(str(BUNDLED))
    write_half(run, folder)
    recogniser = load_recogniser()
    real = reference.load_reference("fsdd", recogniser, archive)
    splits = {"train": real.train, "test": real.test}
    reference.save(folder / "reference.npz", splits, recogniser, np.float16)
    for split, heard in splits.items():
        right = heard.recognition.logits.argmax(axis=1) == heard.labels
        print(f"{split}: {100 * right.mean():.2f} % of {len(right)} clips right")
    print(size(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
