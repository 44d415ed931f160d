"""What `langsamp tokenizer train` says about too little text, and about an existing model."""

import shutil

from support import run


def test_pieces_for_the_text_and_a_model_that_is_there(demo, tmp_path):
    (tmp_path / "text").mkdir()
    for tag in ("hin_Deva", "rus_Cyrl"):
        shutil.copy(demo / "corpus" / "train" / f"{tag}.txt", tmp_path / "text")
    model, size = tmp_path / "spm.model", (tmp_path / "text" / "rus_Cyrl.txt").stat().st_size
    assert size < 2000 * 250, "its text suffices for 1,000 pieces only, regardless of the other languages"
    command = ("langsamp", "tokenizer", "train", tmp_path / "text", "--langs", "rus_Cyrl", "--out", model)
    output = run(*command, "--vocab-size", 1300)
    assert f"pieces are many for {size / 1e6:.1f} MB of text: --vocab-size 1000 gives" in output
    before = model.read_bytes()
    output = run(*command, "--vocab-size", 900, expect=2)
    assert f"--out {model} exists: choose another name, or replace it with --overwrite" in output
    assert model.read_bytes() == before
    output = run(*command, "--vocab-size", 900, "--overwrite")
    assert "pieces are many" not in output and model.read_bytes() != before
