"""One evaluation from end to end: clips in; table, JSON and picture out."""

import json
from pathlib import Path

import numpy as np

from diffwave_jax.evaluation.clips import Clips
from diffwave_jax.evaluation.pictures import save_picture
from diffwave_jax.evaluation.recognition import Progress, Recogniser
from diffwave_jax.evaluation.reference import Reference
from diffwave_jax.evaluation.report import EvaluationReport, in_one_line
from diffwave_jax.evaluation.scores import Scorer
from diffwave_jax.files import complete, make_folder

TABLE, DATA, PICTURE = "evaluation.txt", "evaluation.json", "evaluation.png"
SC09 = "sc09"  # the reference that the papers' figures are of
FEW = "\nread the warnings in evaluation.txt before these scores"


def evaluate(
    clips: Clips,
    reference: Reference,
    recogniser: Recogniser,
    folder: Path,
    *,
    protocol: str = "definition",
    num_resamples: int = 200,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Scores clips, and the real ones beside them, and writes table, data and picture into a folder.

    Args:
      clips: fitted to the classifier.
      reference: real speech as the same classifier hears it.
      recogniser: the classifier.
      folder: for `evaluation.txt`, `evaluation.json` and `evaluation.png`.
      protocol, num_resamples: see `Scorer`.
      progress: called with (clips done, clips in all) while the classifier listens.
    """
    make_folder(folder)  # before the work, in case it cannot be made
    heard = recogniser(clips.audio, progress)
    score = Scorer(reference, protocol, num_resamples)
    rows = {
        "training clips": score.training(reference.train.labels),
        "test clips": score(reference.test.recognition, reference.test.labels),
        "these clips": score(heard, clips.labels),
    }
    said = np.bincount(heard.logits.argmax(axis=1), minlength=len(recogniser.classes))
    real = f"{len(reference.train.labels)} training and {len(reference.test.labels)} test clips"
    description = {
        "clips": len(clips.audio),
        "reference": f"{reference.name}, {real}",
        "classifier": f"{recogniser.name}, {100 * rows['test clips']['accuracy'].value:.1f} % of the test clips right",
        "protocol": protocol,
        "heard as": ", ".join(f"{name} {count}" for name, count in zip(recogniser.classes, said, strict=True)),
    }
    warnings = [*clips.remarks, *_few(*heard.features.shape)]
    report = EvaluationReport(description, rows, warnings, published=reference.name == SC09)
    title = f"{len(clips.audio)} clips: {in_one_line(rows['these clips'])}"
    save_picture(folder / PICTURE, clips, heard, reference, recogniser, title=f"{title}{FEW if warnings else ''}")
    for name, text in ((DATA, json.dumps(report.to_dict(), indent=2)), (TABLE, report.table())):
        with complete(folder / name) as partial:
            partial.write_text(text + "\n")
    return report


def _few(clips: int, features: int) -> list[str]:
    """A warning where there are too few clips for a Frechet distance."""
    if clips > features:
        return []
    return [
        f"{clips} clips do not determine a Gaussian of the classifier's {features} features: their FID is too large "
        "and means little, and the other scores are uncertain; evaluate 1,000 clips or more"
    ]
