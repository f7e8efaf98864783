import numpy as np
import pytest

from diffwave_jax.errors import UserError
from diffwave_jax.evaluation import metrics, published
from diffwave_jax.evaluation.recognition import Recognition
from diffwave_jax.evaluation.scores import Scorer


@pytest.fixture(scope="module")
def score(reference):
    return Scorer(reference, num_resamples=20)


def rows(recognition, chosen):
    return Recognition(recognition.features[chosen], recognition.logits[chosen])


def test_are_the_metrics(score, reference):
    heard, labels, train = reference.test.recognition, reference.test.labels, reference.train.recognition
    scores = {name: each.value for name, each in score(heard, labels).items()}
    bins = metrics.StatisticalBins(train.features)
    assert scores == {
        "fid": metrics.frechet_distance(heard.features, train.features),
        "is": metrics.inception_score(heard.probabilities),
        "mis": metrics.modified_inception_score(heard.probabilities),
        "am": pytest.approx(metrics.am_score(heard.probabilities, train.probabilities), rel=1e-9),  # order of sums
        "ndb": bins.count_different(bins.assign(heard.features)) / 50,
        "nearest": metrics.nearest_distance(heard.features, train.features).mean(),
        "accuracy": metrics.class_accuracy(heard.probabilities, labels),
    }


def test_published_protocol(reference):
    heard, train = reference.test.recognition, reference.train.recognition
    scores = Scorer(reference, "published")(heard)
    assert scores["fid"].value == published.frechet_distance(heard.features, train.features)
    assert scores["is"].value == published.inception_score(heard.probabilities)
    assert scores["mis"].value == published.modified_inception_score(heard.probabilities)
    assert (
        scores["ndb"].value
        == metrics.StatisticalBins(train.features).count_different(
            metrics.StatisticalBins(train.features).assign(heard.features)
        )
        / 50
    )
    assert all(each.interval is None for each in scores.values())


def test_intervals_hold_the_values(score, reference):
    scores = score(reference.test.recognition, reference.test.labels)
    assert all(each.interval[0] <= each.value <= each.interval[1] for each in scores.values())


def test_real_clips_score_better_than_damaged_ones_and_those_better_than_noise(score, recogniser, real, noise):
    random = np.random.default_rng(0)
    clips = np.tile(real.audio, (6, 1))
    damaged = clips * np.repeat(random.uniform(size=(60, clips.shape[1] // 64)) < 0.5, 64, axis=1)
    sets = [score(recogniser(audio.astype(np.float32)), np.arange(60) % 10) for audio in (clips, damaged, noise)]
    for name, direction in {"fid": 1, "am": 1, "nearest": 1, "is": -1, "mis": -1, "accuracy": -1}.items():
        values = [direction * each[name].value for each in sets]
        assert values == sorted(values), name


def test_training_clips_are_at_no_distance_from_themselves(score, reference):
    scores = score.training(reference.train.labels)
    assert scores["fid"].value == scores["ndb"].value == 0
    assert scores["accuracy"].value > 0.97


def test_copies_are_nearer_than_fresh_clips(score, reference):
    copies = score(rows(reference.train.recognition, slice(0, 50)))["nearest"].value
    assert copies == 0 < score(rows(reference.test.recognition, slice(0, 50)))["nearest"].value


def test_without_labels_there_is_no_accuracy(score, reference):
    assert "accuracy" not in score(reference.test.recognition)


def test_single_clip(score, reference):
    with pytest.raises(UserError, match="at least 2 clips are needed, found 1"):
        score(rows(reference.test.recognition, slice(0, 1)))


def test_unknown_protocol(reference):
    with pytest.raises(UserError, match="definition, published"):
        Scorer(reference, "paper")
