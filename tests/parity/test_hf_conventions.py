"""LangSampForMaskedLM where users expect what transformers' own classes do: arguments, loading, saving, compiling."""

import copy
import inspect
import pickle
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers
from hf_models import CODES, SIZES, make_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, XLMRobertaConfig, XLMRobertaForMaskedLM
from transformers.utils import hub

from langsamp_plugin.hf import LangSampConfig, LangSampForMaskedLM
from langsamp_plugin.lang_script import LanguageTable, ScriptTable

SIDE_FILES = {"langsamp.safetensors", LanguageTable.filename, ScriptTable.filename}


@pytest.fixture
def model():
    return make_model()


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def batch(model):
    ids = torch.randint(4, 60, (3, 9), generator=torch.Generator().manual_seed(1))
    ids[1, 6:] = 1
    lang_ids, script_ids = model.tag_ids(["deu_Latn", "hin_Deva", "und_Latn"])
    return {"input_ids": ids, "attention_mask": ids.ne(1).long(), "lang_ids": lang_ids, "script_ids": script_ids}


def same(one, other, batch):
    with torch.no_grad():
        return torch.equal(one.eval()(**batch).logits, other.eval()(**batch).logits)


def equal_states(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_arguments_stand_where_the_stock_class_has_them(model, batch):
    stock = XLMRobertaForMaskedLM(XLMRobertaConfig(**SIZES))
    stock.load_state_dict(model.state_dict(), strict=False)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    positional = (ids, mask, torch.zeros_like(ids), torch.arange(2, 11).expand(3, -1))
    with torch.no_grad():
        assert torch.equal(model(*positional).logits, stock.eval()(*positional).logits)
        # With tags the same arguments go by position, too; the third one does not reach the language table.
        tags = {name: batch[name] for name in ("lang_ids", "script_ids")}
        assert torch.equal(model(ids, mask, torch.zeros_like(ids), **tags).logits, model(**batch).logits)
        assert not torch.equal(model(**batch).logits, model(ids, mask).logits)
    own, theirs = (list(inspect.signature(kind.forward).parameters) for kind in (type(model), type(stock)))
    theirs = [name for name in theirs if name != "kwargs"]
    assert own[: len(theirs)] == theirs
    assert {"lang_ids", "script_ids"} <= {*own[len(theirs) :]}
    with pytest.raises(TypeError, match="by position"):
        model(ids, input_ids=ids)


def test_ids_of_another_shape_are_refused(model, batch):
    with pytest.raises(
        ValueError, match=r"lang_ids must be whole numbers of shape \(B,\) = \(3,\), but are .*\(3, 9\)"
    ):
        model(**{**batch, "lang_ids": torch.zeros_like(batch["input_ids"])})
    with pytest.raises(ValueError, match="script_ids must be whole numbers"):
        model(**{**batch, "script_ids": torch.zeros(3)})
    with pytest.raises(ValueError, match="ids must be < 3"):
        model(**{**batch, "lang_ids": torch.tensor([0, 3, 0])})
    with pytest.raises(ValueError, match="the model has no tables"):
        make_model(languages=[], scripts=[])(**batch)


def test_loading_info(folder):
    model, info = LangSampForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert isinstance(model, LangSampForMaskedLM) and len(model.tables.languages) == 3


@pytest.mark.parametrize("labelled", (False, True))
def test_tuples(model, batch, labelled):
    batch = {**batch, "output_hidden_states": True}
    if labelled:
        batch["labels"] = batch["input_ids"]
    named, plain = model(**batch), model(**batch, return_dict=False)
    assert isinstance(plain, tuple) and len(plain) == len(named.to_tuple()) == 2 + labelled
    assert len(plain[-1]) == 3 and torch.equal(plain[-2], named.logits)
    model.config.return_dict = False
    assert isinstance(model(**batch), tuple)


def test_the_callers_configuration_stays(folder, batch):
    config = LangSampConfig.from_pretrained(folder)
    before = config.to_dict()
    model = LangSampForMaskedLM.from_pretrained(folder, config=config)
    assert config.to_dict() == before and config.languages == CODES["languages"]
    stock = XLMRobertaConfig(**SIZES)
    assert same(LangSampForMaskedLM.from_pretrained(folder, config=stock), model, batch)
    assert not getattr(stock, "languages", None)
    with pytest.raises(ValueError, match="move the rows by code"):
        LangSampForMaskedLM.from_pretrained(
            folder, config=LangSampConfig(languages=["hin", "deu", "eng"], scripts=["Latn", "Deva"], **SIZES)
        )
    assert LangSampForMaskedLM.from_pretrained(folder, output_hidden_states=True).config.output_hidden_states


def test_subfolder(model, batch, tmp_path):
    model.save_pretrained(tmp_path / "deep" / "er")
    assert same(LangSampForMaskedLM.from_pretrained(tmp_path / "deep", subfolder="er"), model, batch)


def test_only_the_main_process_writes(model, tmp_path):
    model.save_pretrained(tmp_path / "saved", is_main_process=False)
    assert not {path.name for path in tmp_path.glob("saved/*")} & SIDE_FILES  # the stock class is asked for the rest


@pytest.mark.skipif(
    transformers.__version__ >= "5" and not hasattr(torch.compiler, "is_exporting"),
    reason="the models of transformers 5 compile with torch 2.7 or later: they ask torch.compiler.is_exporting()",
)
@pytest.mark.parametrize("fullgraph", (False, True))
def test_compiled(model, batch, fullgraph):
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=fullgraph, backend="aot_eager")
    with torch.no_grad():
        assert torch.allclose(compiled(**batch).logits, model(**batch).logits, atol=1e-6)
    if not fullgraph:
        batch["labels"] = batch["input_ids"].masked_fill(batch["input_ids"] % 3 > 0, -100)
        model.train()
        loss = compiled(**batch).loss
        assert torch.allclose(loss, model.eval()(**batch).loss, atol=0.3)  # with dropout
        loss.backward()
        assert model.lang_embedding.weight.grad[0].abs().sum() > 0


def test_exported_program(model, batch):
    program = torch.export.export(model, (), batch, strict=False)
    with torch.no_grad():
        assert torch.allclose(program.module()(**batch).logits, model(**batch).logits, atol=1e-6)


HEAD_ON_DISK = pytest.param(
    {"roberta": "cpu", "lm_head": "disk"},
    marks=pytest.mark.skipif(
        transformers.__version__ < "5", reason="transformers 4 loads the bias of a head on disk as its weight"
    ),
)


@pytest.mark.parametrize("place", (HEAD_ON_DISK, {"roberta": "disk", "lm_head": "cpu"}, "auto"))
def test_device_maps(batch, tmp_path, place):
    model = make_model(tie_word_embeddings=False)  # tied weights in two places are refused by the stock class, too
    model.save_pretrained(tmp_path)
    placed = LangSampForMaskedLM.from_pretrained(tmp_path, device_map=place, offload_folder=tmp_path / "offload")
    assert same(placed, model, batch)
    batch["labels"] = batch["input_ids"]
    with torch.no_grad():
        assert torch.allclose(placed(**batch).loss, model(**batch).loss)


def test_from_a_hub(model, batch, folder, tmp_path):
    repo = tmp_path / "cache" / "models--some--model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    (repo / "snapshots").mkdir()
    for kept in ("all", "without the other files"):
        copied = repo / "snapshots" / ("0" * 40)
        copied.mkdir(exist_ok=True)
        for file in folder.iterdir():
            if kept == "all" or file.name not in SIDE_FILES:
                (copied / file.name).write_bytes(file.read_bytes())
            else:
                (copied / file.name).unlink()
        loaded = LangSampForMaskedLM.from_pretrained("some/model", cache_dir=tmp_path / "cache", local_files_only=True)
        assert same(loaded, model, batch)
    # As `langsamp export` writes it: the tables in a file next to the model.
    for file in folder.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    backbone = {name: tensor for name, tensor in weights.items() if "_embedding." not in name}
    assert len(backbone) == len(weights) - 4
    save_file(backbone, copied / "model.safetensors", metadata={"format": "pt"})
    text = (folder / "config.json").read_text().replace('"languages"', '"unused"').replace('"scripts"', '"unused2"')
    (copied / "config.json").write_text(text)
    loaded = LangSampForMaskedLM.from_pretrained("some/model", cache_dir=tmp_path / "cache", local_files_only=True)
    assert same(loaded, model, batch)


def test_pushed_to_a_hub(model, tmp_path, monkeypatch):
    uploaded = []

    def upload(self, working_dir, repo_id, files_timestamps, *args, **kwargs):
        uploaded.extend(
            path.name
            for path in Path(working_dir).iterdir()
            if path.name not in files_timestamps or path.stat().st_mtime > files_timestamps[path.name]
        )

    class Repo:
        repo_id = "some/model"

    monkeypatch.setattr(hub.PushToHubMixin, "_upload_modified_files", upload)
    monkeypatch.setattr(hub.PushToHubMixin, "_create_repo", lambda *args, **kwargs: "some/model", raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *args, **kwargs: Repo)
    monkeypatch.setattr("transformers.modeling_utils.create_and_tag_model_card", lambda *args, **kwargs: Card())
    model.save_pretrained(str(tmp_path / "pushed"), push_to_hub=True, repo_id="some/model")
    assert {*uploaded} >= {*SIDE_FILES, "config.json", "model.safetensors"}


class Card:
    def save(self, path):
        pass


def test_names_without_their_rows_are_refused(folder, tmp_path):
    for file in SIDE_FILES:
        (folder / file).unlink()
    weights = load_file(folder / "model.safetensors")
    del weights["lang_embedding.weight"], weights["script_embedding.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"names 3 languages and 2 scripts in config.json, but has no lang_embedding"):
        LangSampForMaskedLM.from_pretrained(folder)


def test_a_backbone_gets_head_and_tables_drawn(model, tmp_path):
    """As for a stock class, which draws a head that the folder of a backbone does not have."""
    model.base_model.save_pretrained(tmp_path)
    loaded, info = LangSampForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert {"lm_head.dense.weight", "lang_embedding.weight", "script_embedding.weight"} <= {*info["missing_keys"]}
    assert loaded.tables == model.tables and 0.01 < loaded.lang_embedding.weight.std() < 0.03


def test_new_tables_for_a_stock_folder(batch, tmp_path):
    torch.manual_seed(0)
    stock = XLMRobertaForMaskedLM(XLMRobertaConfig(**SIZES))
    stock.save_pretrained(tmp_path)
    model = LangSampForMaskedLM.from_pretrained(tmp_path, config=LangSampConfig(**CODES, **SIZES))
    assert model.tables.languages.codes == ("deu", "hin", "eng")
    assert 0.01 < model.lang_embedding.weight.std() < 0.03
    assert "".join(map(chr, model.lang_embedding.codes[1].tolist())) == "hin"
    plain = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert same(model, stock, plain)
    assert not torch.equal(model(**batch).logits, stock(**plain).logits)


@pytest.mark.parametrize("how", ("sharded", "state_dict", "bfloat16", "subset"))
def test_saved_in_other_ways(model, batch, tmp_path, how):
    if how == "subset":
        model = make_model(languages=[])
    options = {"sharded": {"max_shard_size": "2KB"}, "state_dict": {"state_dict": model.state_dict()}}.get(how, {})
    if how == "bfloat16":
        model = model.to(torch.bfloat16)
    model.save_pretrained(tmp_path, **options)
    if how == "sharded":
        assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    loaded = LangSampForMaskedLM.from_pretrained(tmp_path, torch_dtype="auto")
    assert loaded.dtype == model.dtype and equal_states(loaded, model)
    assert same(loaded, model, batch)
    stock = AutoModelForMaskedLM.from_pretrained(tmp_path, torch_dtype="auto")
    assert type(stock) is XLMRobertaForMaskedLM
    plain = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert same(stock, model, plain)


def test_copies(model, batch):
    assert same(copy.deepcopy(model), model, batch)
    assert same(pickle.loads(pickle.dumps(model)), model, batch)


def test_rows_in_another_order_do_not_load(model):
    other = make_model(languages=["hin", "deu", "eng"])
    with pytest.raises(ValueError, match="lang_embedding must have the model's 3 codes in their order"):
        other.load_state_dict(model.state_dict(), strict=False)


def test_a_saved_model_is_imported_into_fairseq(model, folder):
    from langsamp_plugin.convert.hf_folder import read_hf_folder
    from langsamp_plugin.convert.import_hf import import_hf

    imported = import_hf(read_hf_folder(folder), "").state["model"]
    assert torch.equal(imported["encoder.lang_embedding.weight"], model.lang_embedding.weight)
    assert torch.equal(imported["encoder.script_embedding.codes"], model.script_embedding.codes)
    (folder / "langsamp.safetensors").unlink()
    with pytest.raises(ValueError, match="must have langsamp.safetensors next to its weights"):
        import_hf(read_hf_folder(folder), "")
