"""``scripts/gpu_report.sh`` at tiny size: a row for each figure, and a part that fails is a row and not the end."""

import json

from support import ROOT, run


def test_report(tmp_path):
    output = run(
        "bash", ROOT / "scripts" / "gpu_report.sh", tmp_path, "--tiny", "--data", tmp_path / "nowhere",
        "--parts", "resume,environment,parity,head,encoding", warm_programs=True,
    )  # fmt: skip
    rows = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [row["result"].split(":")[0] for row in rows if row["part"] == "resume"] == ["FAILED"]
    assert [row["result"][:5] for row in rows if row["part"] == "parity"] == ["equal"] * 3
    assert [row["what"] for row in rows if row["part"] == "head"] == ["head, 999 words"]
    assert not any("FAILED" in row["result"] for row in rows if row["part"] != "resume")
    assert "| parity | blocks against plain, torch.float16 | equal: " in output
    assert (tmp_path / "report.md").read_text(encoding="utf-8") in output
