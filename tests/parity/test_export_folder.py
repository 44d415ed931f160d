"""What an export may replace, and the card that it writes."""

import json
import logging
import shutil

import pytest
import yaml
from packaging.version import parse
from support import run

from langsamp_plugin.convert.card_fields import CardFields
from langsamp_plugin.convert.export import export
from langsamp_plugin.convert.init import import_checkpoint


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def add_pickle(folder):
    (folder / "pytorch_model.bin").write_bytes(b"weights")


def add_checkpoint(folder):
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / "trainer_state.json").write_text("{}")


def edit_card(folder):
    (folder / "README.md").write_text("mine")


def take_away_record(folder):
    (folder / ".written.json").unlink()


@pytest.mark.parametrize("change", [add_pickle, add_checkpoint, edit_card, take_away_record])
def test_what_somebody_else_has_there_is_kept(trained, exported, tmp_path, change):
    shutil.copytree(exported, tmp_path / "hf")
    change(tmp_path / "hf")
    before = files(tmp_path / "hf")
    # The folder is checked first: the missing checkpoint is not reported.
    with pytest.raises(ValueError, match="hf .* is not replaced: choose another --out, or add --overwrite"):
        export(tmp_path / "absent.pt", tmp_path / "hf")
    assert files(tmp_path / "hf") == before
    if change is add_pickle:
        export(trained, tmp_path / "hf", overwrite=True)
        export(trained, tmp_path / "hf")
        assert not (tmp_path / "hf" / "pytorch_model.bin").exists()


def test_a_folder_of_another_kind_is_kept_whatever_is_said(trained, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="does not contain config.json, so it is not replaced"):
            export(trained, tmp_path / "thesis", overwrite=overwrite)


def test_weights_can_be_read_by_colleagues(exported):
    for name in ("model.safetensors", "langsamp.safetensors", "config.json"):
        (exported.parent / "plain").touch()
        assert (exported / name).stat().st_mode == (exported.parent / "plain").stat().st_mode, name


def test_card_as_a_hub_reads_it(trained, tmp_path):
    from huggingface_hub import ModelCard, metadata_load

    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.md").write_text("# Report\n\n| task | all |\n| --- | --- |\n| SR-B | 12.5 |\n")
    fields = ("--license", "cc-by-4.0", "--base-model", "FacebookAI/xlm-roberta-base", "--scores", tmp_path / "report")
    run("langsamp", "export", trained, "--out", tmp_path / "hf", *fields)
    card = ModelCard.load(tmp_path / "hf" / "README.md")
    data = card.data.to_dict()
    assert data == {
        "language": ["deu", "eng", "hin", "rus", "srp", "zho"], "license": "cc-by-4.0",
        "library_name": "transformers", "pipeline_tag": "fill-mask",
        "tags": ["langsamp", "xlm-roberta", "multilingual"], "base_model": "FacebookAI/xlm-roberta-base",
    }  # fmt: skip
    assert metadata_load(tmp_path / "hf" / "README.md") == yaml.safe_load(card.content.split("---")[1])
    for part in ("| SR-B | 12.5 |", "@inproceedings{liu-etal-2025-langsamp", "AutoModel.from_pretrained", "20 updates"):
        assert part in card.text
    assert "Set the licence field" not in card.text


def test_card_without_any_of_it(exported):
    from huggingface_hub import ModelCard

    card = ModelCard.load(exported / "README.md")
    assert card.data.license == "unknown" and card.data.base_model is None and "## Scores" not in card.text
    assert "Set the licence field above before you publish" in card.text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (CardFields(license_id="My Licence"), "--license must be a licence identifier .* but is 'My Licence'"),
        (CardFields(base_model="/data/models/xlmr"), "--base-model must be the name .* but is '/data/models/xlmr'"),
        (CardFields(scores="absent"), "report.md is missing: --scores takes a folder"),
    ],
)
def test_wrong_fields_are_said_first(tmp_path, fields, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        export(tmp_path / "absent.pt", tmp_path / "hf", card=fields)


def test_card_of_the_authors_layout(trained, tmp_path):
    export(trained, tmp_path / "hf", layout="authors")
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "langsamp.safetensors" not in card and "LangSampForMaskedLM.from_pretrained" in card


def test_an_import_of_it_keeps_tags_for_the_next_card(exported, tmp_path):
    import_checkpoint(exported, tmp_path / "in" / "model.pt")
    export(tmp_path / "in" / "model.pt", tmp_path / "hf")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["langsamp_tags"][0] == "deu_Latn"
    assert '- "deu"' in (tmp_path / "hf" / "README.md").read_text()


def test_a_large_vocabulary_is_not_taken_for_mistrals(exported, tmp_path, caplog, monkeypatch):
    """Some versions of transformers warn of a wrong regex where config.json has no version: the control."""
    import tokenizers
    import transformers

    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    caplog.set_level(logging.WARNING, "transformers")  # other tests may have made it quiet
    pieces = [("<unk>", 0.0), *((f"▁{number}", -1.0) for number in range(100_001))]
    large = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, False))
    large.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    large.save(str(tmp_path / "tokenizer.json"))
    shutil.copy(exported / "tokenizer_config.json", tmp_path)
    config = json.loads((exported / "config.json").read_text())
    warned = []
    for version in (config["transformers_version"], None):
        (tmp_path / "config.json").write_text(json.dumps({**config, "transformers_version": version}))
        caplog.clear()
        transformers.AutoTokenizer.from_pretrained(tmp_path)
        warned.append("incorrect regex" in caplog.text)
    assert not warned[0]
    if parse("4.57.6") <= parse(transformers.__version__) <= parse("5.20.2"):
        assert warned[1]
