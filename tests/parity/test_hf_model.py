"""The class for transformers predicts as fairseq does, with tags and without."""

import pytest
import torch

from langsamp_plugin.checkpoint.fairseq_model import build_model
from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.convert.export import export
from langsamp_plugin.convert.verification import encode_sentences, logits
from langsamp_plugin.hf import LangSampConfig, LangSampForMaskedLM
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokens(demo):
    return encode_sentences(Tokenizer(demo / "spm.model"))


@pytest.fixture(scope="module")
def expected(demo, trained, tokens):
    tokenizer = Tokenizer(demo / "spm.model")
    model = build_model(load_checkpoint(trained), tokenizer)
    masked = tokens.eq(tokenizer.vocab_size - 1)
    with torch.no_grad():
        return masked, {tag: logits(model, tokens, masked, tag) for tag in ("deu_Latn", "hin_Deva", "und_Latn", None)}


def predict(model, tokens, masked, tag):
    lang_ids, script_ids = model.tag_ids([tag] * len(tokens)) if tag is not None else (None, None)
    with torch.no_grad():
        return model.eval()(tokens, tokens.ne(1).long(), lang_ids=lang_ids, script_ids=script_ids).logits[masked]


def assert_predicts(model, tokens, expected):
    masked, wanted = expected
    for tag, logits_NV in wanted.items():
        assert (predict(model, tokens, masked, tag) - logits_NV).abs().max() < 1e-5, tag
    assert (wanted["deu_Latn"] - wanted["hin_Deva"]).abs().max() > 1e-3


def test_logits_are_fairseqs(exported, trained, tokens, expected, tmp_path):
    assert_predicts(LangSampForMaskedLM.from_pretrained(exported), tokens, expected)
    # A with a folded head is the same model: here the tag comes from the tables.
    export(trained, tmp_path / "folded", fold=["deu_Latn"])
    assert_predicts(LangSampForMaskedLM.from_pretrained(tmp_path / "folded"), tokens, expected)


def test_round_trip(exported, tokens, expected, tmp_path):
    from transformers import AutoModelForMaskedLM

    model = LangSampForMaskedLM.from_pretrained(exported)
    model.save_pretrained(tmp_path / "saved")
    again = LangSampForMaskedLM.from_pretrained(tmp_path / "saved")
    assert_predicts(again, tokens, expected)
    one, other = model.state_dict(), again.state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert again.tables == model.tables and again.config.languages[:2] == model.config.languages[:2] != []
    stock, info = AutoModelForMaskedLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["missing_keys"]
    assert {name.partition(".")[0] for name in info["unexpected_keys"]} == {"lang_embedding", "script_embedding"}
    masked, wanted = expected
    assert (stock.eval()(tokens, tokens.ne(1).long()).logits[masked] - wanted[None]).abs().max() < 1e-5


def test_trains_and_starts_from_a_configuration():
    config = LangSampConfig(
        languages=["deu", "hin"], scripts=["Latn", "Deva"], vocab_size=50, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=32, max_position_embeddings=40, pad_token_id=1,
    )  # fmt: skip
    model = LangSampForMaskedLM(config).eval()
    ids = torch.randint(4, 50, (3, 8))
    labels = torch.where(torch.rand(3, 8) < 0.3, ids, -100)
    labels[0, 0] = ids[0, 0]
    lang_ids, script_ids = model.tag_ids(["de", "hin_Deva", "und_Latn"])
    assert lang_ids.tolist() == [0, 1, -1] and script_ids.tolist() == [0, 1, 0]
    out = model(ids, lang_ids=lang_ids, script_ids=script_ids, labels=labels)
    reference = torch.nn.functional.cross_entropy(out.logits.reshape(-1, 50), labels.reshape(-1))
    assert torch.allclose(out.loss, reference)
    out.loss.backward()
    assert model.lang_embedding.weight.grad.abs().sum(1).gt(0).tolist() == [True, bool((labels[1] != -100).any())]
    with pytest.raises(ValueError, match="'fra' of fra_Latn is not among the 2 languages of this model.*und_Zyyy"):
        model.tag_ids(["fra_Latn"])
