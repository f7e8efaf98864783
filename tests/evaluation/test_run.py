import json
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from diffwave_jax import cli
from diffwave_jax.commands import evaluate as command
from diffwave_jax.evaluation.clips import Clips, sample_clips
from diffwave_jax.evaluation.pictures import columns_by_confidence
from diffwave_jax.evaluation.run import DATA, PICTURE, TABLE, _few, evaluate
from tests.helpers.tiny import tiny_generator

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("labelled", [True, False])
def test_writes_table_data_and_picture(tmp_path, recogniser, reference, real, noise, labelled):
    audio = np.concatenate([real.audio, noise[:5]])
    clips = Clips(audio, np.arange(15) % 10 if labelled else None)
    report = evaluate(clips, reference, recogniser, tmp_path / "new" / "folder", num_resamples=3)
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == sorted([TABLE, DATA, PICTURE])
    assert (folder / TABLE).read_text() == report.table() + "\n"
    data = json.loads((folder / DATA).read_text())
    assert data["clips"] == 15
    assert data["scores"]["these clips"]["fid"]["value"] > data["scores"]["test clips"]["fid"]["value"]
    assert ("accuracy" in data["scores"]["these clips"]) == labelled
    [few] = data["warnings"]
    assert few.startswith(
        "15 clips do not determine a Gaussian of the classifier's 128 features: their FID is too large"
    )
    assert f"warning: {few}\n" in report.table()
    picture = matplotlib.image.imread(folder / PICTURE)
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.1
    most = np.bincount(recogniser(audio).logits.argmax(axis=1)).max()
    # As wide as the longest row of clips needs, so that few clips leave no blank half.
    assert picture.shape[1] == pytest.approx(110 * (6.5 + 0.85 * min(12, most)), abs=1)
    assert "published" not in data


def test_columns_run_from_the_surest_to_the_least_sure():
    probabilities = np.full((100, 2), 0.5)
    probabilities[:, 0] = np.linspace(0.51, 0.99, 100)
    probabilities[:, 1] = 1 - probabilities[:, 0]
    chosen = columns_by_confidence(probabilities, 0, num_columns=5)
    assert chosen[0] == 99 and chosen[-1] == 0
    assert np.all(np.diff(chosen) < 0) and len(chosen) == 5
    assert len(columns_by_confidence(probabilities, 1)) == 0
    assert len(columns_by_confidence(probabilities[:3], 0, num_columns=5)) == 3


def test_samples_of_a_model_take_turns_of_its_classes(recogniser):
    model, seen = tiny_generator(n_classes=10), []
    model.config.sample.steps = 2
    clips = sample_clips(model, 12, 3, recogniser, lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(clips.labels, np.arange(12) % 10)
    assert clips.audio.shape == (12, recogniser.length) and seen[-1][0] == seen[-1][1]
    np.testing.assert_array_equal(clips.audio[:, : model.length], model.generate(12, 3, digit=range(10)))


def test_samples_of_an_unconditional_model_have_no_labels(recogniser):
    model = tiny_generator()
    model.config.sample.steps = 2
    clips = sample_clips(model, 3, 0, recogniser)
    assert clips.labels is None and clips.remarks == ()


def test_labels_go_by_the_names_of_the_classes(recogniser):
    model = tiny_generator(n_classes=3)
    model.config.sample.steps = 2
    model.config.data.classes = ("seven", "two", "nine")
    np.testing.assert_array_equal(sample_clips(model, 4, 0, recogniser).labels, [7, 2, 9, 7])
    model.config.data.classes = ("seven", "cat", "dog")
    clips = sample_clips(model, 4, 0, recogniser)
    assert clips.labels is None
    assert clips.remarks == ("the classifier does not know the model's classes cat, dog: no accuracy is given",)


@pytest.mark.parametrize(("count", "features", "told"), [(128, 128, True), (129, 128, False)])
def test_few_clips_are_those_that_determine_no_gaussian(count, features, told):
    assert bool(_few(count, features)) == told


def evaluate_py(*arguments):
    command = [sys.executable, str(ROOT / "evaluate.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_script(tmp_path, real, recogniser):
    done = evaluate_py(ROOT / "tests" / "data" / "digits", "--out", tmp_path, "--resamples", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / TABLE).read_text()
    assert "accuracy" in done.stdout and not done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments SAMPLES_DIR --checkpoint --pretrained is required"),
        (["tests/data/digits", "--resamples", "1"], "'1' is no number of resamples; write 0, or 2 or more"),
        (["tests/data/digits", "--reference", "sc09"], "python -m diffwave_jax train --config classifier"),
    ],
)
def test_script_tells_mistakes_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.guard(command.main, command.parse(arguments))
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in said and said.count("\n") == 1
