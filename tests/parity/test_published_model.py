"""The layout of the published model: tables among the weights, rows known by position."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from langsamp_plugin.analysis.embeddings import trained_rows
from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.authors import AUTHORS_TABLES
from langsamp_plugin.convert.export import export
from langsamp_plugin.convert.init import import_checkpoint
from langsamp_plugin.convert.tables_file import load_tables
from langsamp_plugin.convert.verification import encode_sentences, logits
from langsamp_plugin.evaluation.encoding import load_encoder
from langsamp_plugin.hf import LangSampForMaskedLM
from langsamp_plugin.info import describe
from langsamp_plugin.lang_script import LangScript, Tables
from langsamp_plugin.vocabulary.tokenizer import Tokenizer

TAG = LangScript("deu", "Latn")


def authors_folder(exported, out, tables=(610, 30)):
    """A folder with the names of the published weights and random tables; a table of no rows is left out."""
    shutil.copytree(exported, out)
    for name in ("langsamp.safetensors", "languages.tsv", "scripts.tsv", ".written.json"):
        (out / name).unlink()
    tensors = {
        name: tensor for name, tensor in load_file(out / "model.safetensors").items() if "token_type" not in name
    }
    generator = torch.Generator().manual_seed(1)
    for name, rows in zip(AUTHORS_TABLES, tables):
        if rows:
            tensors[name] = torch.randn(rows, 32, generator=generator)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    config = json.loads((out / "config.json").read_text())
    config.update(
        architectures=["XLMRobertaDecoupledForMaskedLM"], use_lang_embedding=bool(tables[0]),
        use_script_embedding=bool(tables[1]), lang_size=tables[0], script_size=tables[1],
        decouple_at_input_embeddings=False, langsamp_tags=[],
    )  # fmt: skip
    (out / "config.json").write_text(json.dumps(config))
    return out


def reference_logits(tensors, features, masked, shift=0):
    """Equation 1 in plain torch: o = h + E_lang + E_script into the head, rows by their places in the published
    lists."""
    published = Tables.glot500()
    added = torch.zeros(features.shape[-1])
    for name, codes, code in zip(AUTHORS_TABLES, published, TAG):
        if name in tensors:
            added = added + tensors[name][(list(codes).index(code) + shift) % len(codes)]
    x = (features[masked] + added) @ tensors["lm_head.dense.weight"].T + tensors["lm_head.dense.bias"]
    x = torch.nn.functional.gelu(x)
    x = torch.nn.functional.layer_norm(
        x, x.shape[-1:], tensors["lm_head.layer_norm.weight"], tensors["lm_head.layer_norm.bias"]
    )
    return x @ tensors["roberta.embeddings.word_embeddings.weight"].T + tensors["lm_head.bias"]


@pytest.mark.parametrize("tables", [(610, 30), (610, 0), (0, 30)])
def test_there_and_back(demo, exported, tmp_path, tables):
    folder = authors_folder(exported, tmp_path / "published", tables)
    checkpoint = tmp_path / "in" / "model.pt"
    import_checkpoint(folder, checkpoint, verify=True)
    export(checkpoint, tmp_path / "again", layout="authors", verify=True)
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "again"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    wanted = json.loads((folder / "config.json").read_text())
    for name in ("architectures", "use_lang_embedding", "use_script_embedding", "decouple_at_input_embeddings"):
        assert config[name] == wanted[name]
    assert (config["lang_size"], config["script_size"]) == (610, 30)
    # Predictions, by fairseq and by transformers.
    tokenizer = Tokenizer(demo / "spm.model")
    tokens = encode_sentences(tokenizer)
    masked = tokens.eq(tokenizer.vocab_size - 1)
    model = build_model(load_checkpoint(checkpoint), tokenizer)
    theirs = LangSampForMaskedLM.from_pretrained(folder).eval()
    lang_ids, script_ids = theirs.tag_ids([str(TAG)] * len(tokens))
    with torch.no_grad():
        features = model(tokens, features_only=True)[0]
        right, shifted = (reference_logits(before, features, masked, shift) for shift in (0, 1))
        ours = logits(model, tokens, masked, str(TAG))
        hf = theirs(tokens, tokens.ne(1).long(), lang_ids=lang_ids, script_ids=script_ids).logits[masked]
    assert (ours - right).abs().max() < 1e-5 and (hf - right).abs().max() < 1e-5
    assert (ours - shifted).abs().max() > 1e-2, "control: rows shifted by one"
    # Analyses, folding and the report read it, too.
    assert list(map(len, load_tables(folder)[:2])) == list(tables)
    assert any("in the published model's layout" in line for line in describe(folder))
    export(checkpoint, tmp_path / "folded", fold=[str(TAG)], verify=True)
    encoder, _ = load_encoder(folder)
    with torch.no_grad():
        found = encoder(tokens, attention_mask=tokens.ne(1).long()).last_hidden_state
    assert (found - features)[tokens.ne(1)].abs().max() < 1e-5, "evaluation reads no token types that were drawn"


def test_another_number_of_rows_is_refused(exported, tmp_path):
    folder = authors_folder(exported, tmp_path / "published", (5, 30))
    with pytest.raises(ValueError, match=r"has 5 rows, but the inventory has 610 languages: .*--tables FOLDER"):
        import_checkpoint(folder, tmp_path / "x" / "model.pt")
    Tables(Tables.glot500().languages[:5], Tables.glot500().scripts)
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "languages.tsv").write_text(
        "".join(f"{code}\n" for code in Tables.glot500().languages[:5])
    )
    (tmp_path / "inventory" / "scripts.tsv").write_text("".join(f"{code}\n" for code in Tables.glot500().scripts))
    import_checkpoint(folder, tmp_path / "x" / "model.pt", tables=tmp_path / "inventory")
    assert len(load_tables(tmp_path / "x" / "model.pt").languages) == 5
    # The list of the other table need not be given, as for an ablation.
    (tmp_path / "inventory" / "scripts.tsv").unlink()
    import_checkpoint(folder, tmp_path / "x" / "model.pt", tables=tmp_path / "inventory")
    with pytest.raises(FileNotFoundError, match="must have languages.tsv, scripts.tsv or both, but has neither"):
        import_checkpoint(folder, tmp_path / "x" / "model.pt", tables=tmp_path)


def test_its_tables_are_analysed(exported, tmp_path):
    folder = authors_folder(exported, tmp_path / "published")
    languages, scripts = trained_rows(folder)
    assert len(languages.codes) > 500 and len(scripts.codes) == 30 and languages.tags["deu"] == [TAG]
    tensors = load_file(folder / "model.safetensors")
    for rows, name, codes in zip((languages, scripts), AUTHORS_TABLES, Tables.glot500()):
        expected = tensors[name][[codes.id(code) for code in rows.codes]]
        assert torch.equal(torch.from_numpy(rows.vectors), expected)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="only as pytorch_model.bin, a pickle: convert it"):
        trained_rows(folder)


def test_what_their_class_has_no_place_for(trained, tmp_path):
    done = export(trained, tmp_path / "hf", layout="authors")
    assert "604 published languages that the model lacks have rows of zeros" in " ".join(done.notes)
    with pytest.raises(ValueError, match="--fold and --layout authors exclude each other"):
        export(trained, tmp_path / "hf", layout="authors", fold=["deu_Latn"])
    with pytest.raises(ValueError, match="stock or authors, but is 'other'"):
        export(trained, tmp_path / "hf", layout="other")
