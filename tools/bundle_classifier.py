"""Puts a trained classifier of digits into the package: python tools/bundle_classifier.py RUN FSDD_ARCHIVE.

Weights as float16, and FSDD as the classifier with those weights hears it.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax import checkpoint
from diffwave_jax.evaluation import reference
from diffwave_jax.evaluation.recognition import BUNDLED, load_recogniser


def main(run: str, archive: str) -> None:
    """Writes checkpoint and reference, and prints the accuracy and the size."""
    folder = Path(str(BUNDLED))
    saved = checkpoint.load(run)
    saved.config["data"]["archive"] = ""  # the path is of no use to others
    saved.config["data"]["data_dir"] = ""
    half = {name: value.astype(np.float16) for name, value in saved.weights.items()}
    shutil.rmtree(folder / checkpoint.FOLDER, ignore_errors=True)
    checkpoint.save(folder, saved.step, params=half, config=saved.config)
    recogniser = load_recogniser()
    real = reference.load_reference("fsdd", recogniser, archive)
    splits = {"train": real.train, "test": real.test}
    reference.save(folder / "reference.npz", splits, recogniser, np.float16)
    for split, heard in splits.items():
        right = heard.recognition.logits.argmax(axis=1) == heard.labels
        print(f"{split}: {100 * right.mean():.2f} % of {len(right)} clips right")
    print(f"{sum(path.stat().st_size for path in folder.rglob('*')) / 1e6:.2f} MB in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
