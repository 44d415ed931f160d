"""Languages that an evaluation's data have no longer: kept aside, named, in no mean, and removed on request."""

import pytest
from gallery import result

from langsamp_plugin.evaluation.results import EARLIER, Result, load_result
from langsamp_plugin.evaluation.run import evaluate


def scored(**scores):
    """A result of languages with one score for both seeds."""
    tags = {tag: {"f1": [score, score]} for tag, score in scores.items()}
    return Result(**{**result("one", 50.0), "scores": tags, "sizes": dict.fromkeys(tags, 204)})


def test_left_out_of_means_and_removed(tmp_path):
    path = scored(eng_Latn=80.0, deu_Latn=20.0).save(tmp_path, ["eng_Latn", "deu_Latn"])
    assert load_result(path).mean("f1") == 50.0
    scored(eng_Latn=80.0).save(tmp_path)  # --langs: a part of the languages on purpose
    assert load_result(path).mean("f1") == 50.0
    scored(eng_Latn=80.0).save(tmp_path, ["eng_Latn"])
    found = load_result(path)
    assert found.mean("f1") == 80.0 and list(found.incomplete) == ["deu_Latn"]
    assert found.notes == [f"{EARLIER}: deu_Latn: they are excluded from means, and --prune removes them"]
    scored(eng_Latn=80.0, deu_Latn=30.0).save(tmp_path, ["eng_Latn", "deu_Latn"])  # they are back
    assert load_result(path).mean("f1") == 55.0 and not load_result(path).notes
    scored(eng_Latn=80.0).save(tmp_path, ["eng_Latn"], prune=True)
    found = load_result(path)
    assert list(found.scores) == list(found.sizes) == ["eng_Latn"] and not found.incomplete and not found.notes


def test_not_with_a_part_of_the_languages(tmp_path):
    with pytest.raises(ValueError, match="--prune needs all languages of the data: leave out --langs"):
        evaluate("model", tmp_path, tmp_path / "out", ["sib200"], langs=["deu_Latn"], prune=True)
