"""Tables on masked LMs of other architectures: the head by hand, the stock model, folders, folding."""

import copy
import pickle

import pytest
import torch
import transformers
from hf_models import CODES, SIZES
from torch.nn.functional import cross_entropy
from transformers import AutoModelForMaskedLM

from langsamp_plugin.hf import LangSampForMaskedLM, add_tags, fold_tag, load_tagged
from langsamp_plugin.hf.heads import find_head
from langsamp_plugin.lang_script import LanguageTable, ScriptTable, Tables

KINDS = {
    "Bert": {},
    "ModernBert": dict(cls_token_id=0, sep_token_id=2, global_attn_every_n_layers=2, local_attention=8),
    "ModernBert with biases": dict(cls_token_id=0, sep_token_id=2, classifier_bias=True, local_attention=8),
    "DebertaV2": dict(relative_attention=True, position_buckets=8, pos_att_type=["p2c", "c2p"]),
    "DebertaV2 without legacy": dict(legacy=False),
    "EuroBert": dict(num_key_value_heads=2, mask_token_id=3),
    "XLMRoberta": {},
}
FOLDABLE = {"Bert", "ModernBert with biases", "DebertaV2", "DebertaV2 without legacy", "XLMRoberta"}


def by_hand(stock, h):
    """The stock class's way from features to logits, written out."""
    kind = type(stock).__name__
    if kind.startswith("ModernBert"):
        return stock.decoder(stock.head(h))
    if hasattr(stock, "lm_predictions"):
        return stock.lm_predictions(h, stock.deberta.embeddings.word_embeddings)
    return stock.cls(h) if hasattr(stock, "cls") else stock.lm_head(h)


@pytest.fixture(params=KINDS)
def pair(request):
    """A model with tables, the stock one with the same weights, and a batch with tags."""
    name = request.param.split()[0]
    if not hasattr(transformers, f"{name}ForMaskedLM"):
        assert transformers.__version__ < "4.58"
        return pytest.skip(f"transformers {transformers.__version__} has no {name}")
    if request.param == "DebertaV2 without legacy" and transformers.__version__ < "5":
        return pytest.skip("transformers 4 ties the wrong weight of DebertaV2 without legacy, which cannot be called")
    torch.manual_seed(0)
    sizes = {**SIZES, **KINDS[request.param]}
    config = getattr(transformers, f"{name}Config")(**sizes)
    stock = getattr(transformers, f"{name}ForMaskedLM")(config).eval()
    model = add_tags(copy.deepcopy(stock), Tables(LanguageTable(CODES["languages"]), ScriptTable(CODES["scripts"])))
    ids = torch.randint(4, 60, (3, 9), generator=torch.Generator().manual_seed(1))
    ids[1, 6:] = 1
    lang_ids, script_ids = model.tag_ids(["deu_Latn", "hin_Deva", "und_Latn"])
    plain = {"input_ids": ids, "attention_mask": ids.ne(1).long()}
    return request.param, model.eval(), stock, plain, {**plain, "lang_ids": lang_ids, "script_ids": script_ids}


def test_tables_at_the_head(pair):
    _, model, stock, plain, batch = pair
    with torch.no_grad():
        rows = model.lang_embedding.weight[[0, 1]] + model.script_embedding.weight[[0, 1]]
        rows = torch.cat([rows, model.script_embedding.weight[:1]])
        wanted = by_hand(stock, stock.base_model(**plain)[0] + rows[:, None])
        logits = model(**batch).logits
        assert torch.equal(logits, wanted) and not torch.allclose(logits, stock(**plain).logits)
        names = {name: value for name, value in batch.items() if not name.endswith("_ids") or name == "input_ids"}
        assert torch.equal(model(**names, tag=["de", "hin_Deva", "und_Latn"]).logits, logits)
        assert torch.equal(model(**plain).logits, stock(**plain).logits)
        for table in (model.lang_embedding, model.script_embedding):
            table.weight.zero_()
        assert torch.equal(model(**batch).logits, stock(**plain).logits)


@pytest.mark.parametrize("blocks", (False, True))
def test_loss_and_gradients(pair, blocks, monkeypatch):
    _, model, _, _, batch = pair
    if blocks:
        monkeypatch.setattr("langsamp_plugin.modules.head_loss.BLOCK_BYTES", dict.fromkeys(("cpu", "cuda"), 4 * 60 * 2))
    labels = batch["input_ids"].masked_fill(batch["input_ids"] % 3 > 0, -100)
    model.config.skip_logits = True
    output = model(**batch, labels=labels)
    assert output.logits is None
    output.loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    loss = cross_entropy(model(**batch).logits.flatten(0, 1), labels.flatten())
    loss.backward()
    assert abs(loss - output.loss) < 1e-6
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            assert (gradients[name] - weight.grad).abs().max() < 1e-6, name
    with torch.no_grad():
        assert torch.allclose(
            model(**batch, labels=labels, num_items_in_batch=2).loss, loss * (labels != -100).sum() / 2
        )


def test_folders(pair, tmp_path):
    _, model, stock, plain, batch = pair
    model.save_pretrained(tmp_path)
    loaded = load_tagged(tmp_path)
    one, other = model.state_dict(), loaded.state_dict()
    assert type(loaded) is type(model) and one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    with torch.no_grad():
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)
        again = AutoModelForMaskedLM.from_pretrained(tmp_path)
        assert type(again) is type(stock) and torch.equal(again(**plain).logits, stock(**plain).logits)
        copied = pickle.loads(pickle.dumps(model))
        assert torch.equal(copied(**batch).logits, model(**batch).logits)


def test_folding(pair):
    name, model, stock, plain, _ = pair
    if name not in FOLDABLE:
        with pytest.raises(ValueError, match="must begin with a linear layer with a bias"):
            fold_tag(model, "hin_Deva")
        return
    folded = fold_tag(model, "hin_Deva")
    assert type(folded) is type(stock) and folded.state_dict().keys() == stock.state_dict().keys()
    with torch.no_grad():
        wanted = model(**plain, tag=["hin_Deva"] * 3).logits
        assert (folded(**plain).logits - wanted).abs().max() < 1e-5
        assert (folded(**plain).logits - stock(**plain).logits).abs().max() > 1e-3


def test_a_bias_outside_the_projection():
    """ESM's head adds its bias itself; the loss in blocks has it, too."""
    torch.manual_seed(0)
    stock = transformers.EsmForMaskedLM(transformers.EsmConfig(**SIZES))
    torch.nn.init.normal_(stock.lm_head.bias)
    head, features = find_head(stock), torch.randn(1, 3, SIZES["hidden_size"])
    found = torch.nn.functional.linear(head.transform(features), head.weight, head.bias)
    torch.testing.assert_close(found, stock.lm_head(features), rtol=1e-5, atol=1e-5)


def test_other_heads_and_arguments_are_refused():
    small = dict(embedding_size=8, true_hidden_size=8, intra_bottleneck_size=8)
    with pytest.raises(ValueError, match="MobileBertForMaskedLM must have a known masked-LM head"):
        add_tags(transformers.MobileBertForMaskedLM(transformers.MobileBertConfig(**SIZES, **small)), Tables.glot500())
    model = transformers.XmodForMaskedLM(transformers.XmodConfig(**SIZES, languages=["en_XX"]))
    with pytest.raises(ValueError, match="XmodForMaskedLM must not have arguments of these names itself, .*lang_ids"):
        add_tags(model, Tables.glot500())


def test_what_does_not_fit_is_refused():
    config = transformers.BertConfig(**SIZES)
    with pytest.raises(ValueError, match="BertModel must have a known masked-LM head"):
        add_tags(transformers.BertModel(config), Tables.glot500())
    model = add_tags(transformers.BertForMaskedLM(config), Tables.glot500())
    with pytest.raises(ValueError, match="must have no tables yet"):
        add_tags(model, Tables.glot500())
    assert type(
        add_tags(transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**SIZES)), Tables.glot500())
    ) is (LangSampForMaskedLM)
