"""An evaluation that is killed in any of its phases, and started again with the same command."""

import json
import shutil

from killed_evaluation import PHASES
from small_encoder import save_encoder, save_topics, save_verses
from support import ROOT, run

TIMES = {"first", "finished"}


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def results(out):
    return {path.name: without_times(json.loads(path.read_text())) for path in sorted((out / "model").glob("*.json"))}


def test_killed_in_every_phase_it_writes_the_same(tmp_path, monkeypatch):
    """Encoding, storing, fine-tuning, scoring, removing, writing: each run resumes what the killed one left."""
    save_topics(save_verses(tmp_path / "data"), ("deu_Latn",))
    save_encoder(tmp_path / "model")
    out = tmp_path / "out"
    command = ["python", ROOT / "tests" / "killed_evaluation.py", tmp_path / "model", tmp_path / "data", out]
    run(*command)
    expected = results(out)
    assert set(expected) == {"sr_bible.json", "sib200.json"} and len(expected["sib200.json"]["scores"]) == 2
    shutil.rmtree(out)
    for phase in PHASES:
        monkeypatch.setenv("KILLED_IN", phase)
        run(*command, expect=-9)
        assert "sib200.json" not in results(out), f"killed while {phase}, before its end"
    monkeypatch.delenv("KILLED_IN")
    run(*command)
    assert results(out) == expected
    assert not [path for path in (out / ".cache" / "finetuned").iterdir() if path.name[0] != "."]
