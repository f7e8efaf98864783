"""The notebook, run from its first cell to its last, with fewer steps, and without the network."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FASTER = {
    "num_steps = 300": "num_steps = 10",
    "model, 40,": "model, 16,",
    "steps=8": "steps=2",
    "[150, 100, 50, 10, 1]": "[199, 195]",
    "d_model=16, n_layers=(0, 1, 2)": "d_model=4, n_layers=(0, 0, 1)",
}


@pytest.mark.filterwarnings("default")  # the libraries that run notebooks warn of themselves
def test_the_tour(tmp_path, monkeypatch):
    nbformat, nbclient = (pytest.importorskip(name, reason="not installed") for name in ("nbformat", "nbclient"))
    pytest.importorskip("ipykernel", reason="not installed")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(ROOT / "docs" / "tour.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # none are kept in the repository
    notebook.cells = [cell for cell in notebook.cells if "network" not in cell.metadata.get("tags", ())]
    assert all(any(full in cell.source for cell in notebook.cells) for full in FASTER)
    for cell in notebook.cells:
        for full, less in FASTER.items():
            cell.source = cell.source.replace(full, less)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "<Generator: sashimi, 2,485,721 weights" in said and "digits: a spoken digit" in said
    assert "these clips" in said
    sounds = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "<audio" in output.get("data", {}).get("text/html", "")
    ]
    assert len(sounds) == 4 + 1 + 4 + 1
