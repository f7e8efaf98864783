import dataclasses
import json

from diffwave_jax.evaluation.report import EvaluationReport, in_one_line
from diffwave_jax.evaluation.scores import Score

REPORT = EvaluationReport(
    {"clips": 7},
    {
        "test clips": {"fid": Score(0.5, (0.25, 0.75)), "mis": Score(12345.6)},
        "these clips": {"fid": Score(123.45), "accuracy": Score(0.987, (0.98, 0.994))},
    },
    published=True,
)


def line(start):
    return next(line for line in REPORT.table().splitlines() if line.startswith(start))


def test_table_shows_values_with_half_the_interval():
    assert line("test clips").split() == ["test", "clips", "0.50", "±", "0.25", "12346"]
    assert line("these clips").split() == ["these", "clips", "123.5", "0.99", "±", "0.01"]
    assert line("clips:") == "clips: 7"


def test_columns_line_up():
    header = line(" " * 20)
    for name, cell in (("FID", "0.50 ± 0.25"), ("mIS", "12346")):
        end = header.index(name) + len(name)
        assert line("test clips")[:end].endswith(cell)


def test_published_figures_of_table_5():
    assert line("training set").split()[2:] == ["0.00", "8.56", "292.5", "0.16"]
    assert line("test set").split()[2:] == ["0.02", "8.33", "257.6", "0.19"]
    assert line("DiffWave").split()[1:] == ["1.92", "5.26", "51.21", "0.68"]
    assert line("SaShiMi + DiffWave").split()[3:] == ["1.42", "5.94", "69.17", "0.59"]
    assert "arXiv 2202.09729" in line("published")


def test_published_figures_stand_beside_scores_of_their_data_alone():
    other = dataclasses.replace(REPORT, published=False)
    assert "published" not in other.to_dict() and "arXiv" not in other.table()


def test_scores_in_one_line():
    assert in_one_line(REPORT.rows["these clips"]) == "FID 123.5, accuracy 0.99 ± 0.01"


def test_plain_data_survives_json():
    data = json.loads(json.dumps(REPORT.to_dict()))
    assert data["clips"] == 7
    assert data["scores"]["test clips"]["fid"] == {"value": 0.5, "interval": [0.25, 0.75]}
    assert data["scores"]["these clips"]["fid"] == {"value": 123.45, "interval": None}
    assert data["published"]["DiffWave"]["mis"] == 51.21
