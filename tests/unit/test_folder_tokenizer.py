"""Data and models with a tokenizer of transformers that is not a SentencePiece model."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
import transformers
from hf_models import SIZES
from support import QUICK, run
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from langsamp_plugin.analysis.embeddings import trained_rows
from langsamp_plugin.analysis.neutrality import analyze_neutrality
from langsamp_plugin.analysis.source_languages import analyze_sources
from langsamp_plugin.analysis.tag_swap import tag_swap
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.evaluation.run import evaluate
from langsamp_plugin.evaluation.tasks import TASKS
from langsamp_plugin.hf import DataBin, LangSampTrainer, add_tags, load_tagged
from langsamp_plugin.vocabulary.folder_tokenizer import FolderTokenizer, read_token_ids

NAMES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}


@pytest.fixture(scope="module")
def folder(demo, tmp_path_factory):
    """A byte-level BPE tokenizer, its special tokens behind some of the others."""
    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    made.train([str(path) for path in (demo / "corpus" / "train").glob("*.txt")], trainer)
    made.add_special_tokens([*NAMES.values()])
    out = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=made, **NAMES).save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def data(demo, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    binarize(demo / "corpus" / "train", folder, out, valid=demo / "corpus" / "valid")
    return out


def test_ids_are_the_tokenizers(demo, folder, data):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    lines = (demo / "corpus" / "train" / "hin_Deva.txt").read_text(encoding="utf-8").splitlines()[:20]
    buffer = TokenBuffer(data / "hin_Deva" / "train")
    wanted = [[*tokenizer(line, add_special_tokens=False)["input_ids"], tokenizer.sep_token_id] for line in lines]
    assert buffer.sizes()[:20].tolist() == [len(row) for row in wanted]
    flat = np.concatenate(wanted)
    assert np.array_equal(buffer.read(0, len(flat)).astype(np.int64), flat)
    assert not (data / "dict.txt").exists() and (data / "tokenizer" / "tokenizer.json").is_file()
    ids = read_token_ids(data / "tokenizer_ids.json")
    assert (ids.bos, ids.eos, ids.pad, ids.mask) == tuple(
        tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    )
    batch = DataBin(data, "valid", tokens_per_sample=32)
    made = batch.collate(batch.__getitems__(range(len(batch))))
    assert (made["input_ids"][:, 0] == ids.bos).all()
    padded = made["attention_mask"] == 0
    assert padded.any() and (made["input_ids"][padded] == ids.pad).all() and (made["labels"][padded] == -100).all()
    predicted = made["labels"] != -100
    assert (made["input_ids"][predicted] == ids.mask).float().mean() > 0.6
    assert not np.isin(made["labels"][predicted].numpy(), ids.special).any()


KINDS = {
    "Bert": {},
    "ModernBert": {"cls_token_id": 0, "sep_token_id": 2, "local_attention": 32},
    "DebertaV2": {"relative_attention": True, "position_buckets": 32, "pos_att_type": ["p2c", "c2p"]},
    "EuroBert": {"num_key_value_heads": 2},
}


@pytest.fixture(scope="module", params=KINDS)
def tagged(request, data, tmp_path_factory):
    """A folder that the Trainer left, of each architecture, and the class of its stock model."""
    name = request.param
    if not hasattr(transformers, f"{name}ForMaskedLM"):
        assert transformers.__version__ < "4.58"
        return pytest.skip(f"transformers {transformers.__version__} has no {name}")
    train, out = DataBin(data, tokens_per_sample=32), tmp_path_factory.mktemp(name)
    ids = read_token_ids(data / "tokenizer_ids.json")
    config = getattr(transformers, f"{name}Config")(
        vocab_size=train.vocab_size + 3, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=300, pad_token_id=ids.pad, **KINDS[name],
    )  # fmt: skip
    torch.manual_seed(0)
    stock = getattr(transformers, f"{name}ForMaskedLM")
    model = add_tags(stock(config), train.tables)
    args = transformers.TrainingArguments(str(out), max_steps=2, use_cpu=True, report_to=[], disable_tqdm=True)
    before = model.lang_embedding.weight.detach().clone()
    LangSampTrainer(model, args, train_dataset=train).train()
    assert not torch.equal(before, model.lang_embedding.weight)
    model.save_pretrained(out / "model")
    PreTrainedTokenizerFast.from_pretrained(data / "tokenizer").save_pretrained(out / "model")
    loaded = load_tagged(out / "model")
    assert torch.equal(loaded.script_embedding.weight, model.script_embedding.weight)
    with pytest.raises(ValueError, match=r"must have the vocabulary of the tokenizer, 505 ids, but has 5,000"):
        train.check_model(stock(config.__class__(**{**config.to_dict(), "vocab_size": 5000})))
    return out / "model"


def test_a_trained_folder_is_evaluated(tagged, eval_data, tmp_path):
    tasks, quick = ["sr_bible", "sib200", "pos"], {**QUICK, "epochs": 1}
    for result in evaluate(tagged, eval_data, tmp_path, tasks, langs=["deu_Latn"], **quick):
        score = result.scores["deu_Latn"][TASKS[result.task].metric][0]
        assert 0 <= score <= 100 and result.sizes["deu_Latn"] > 10


def test_a_trained_folder_is_analysed(tagged, data, eval_data, tmp_path):
    assert [sorted(map(str, table.codes)) for table in trained_rows(tagged)] == [
        ["deu", "eng", "hin", "rus", "srp", "zho"], ["Cyrl", "Deva", "Hani", "Latn"]
    ]  # fmt: skip
    found = analyze_neutrality(
        tagged, eval_data / "sr_bible", tmp_path, langs=["eng_Latn", "deu_Latn", "rus_Cyrl"], limit=20
    )
    assert found["model"]["layer"] == 1 and -1 <= found["model"]["margin"] <= 1
    chosen = analyze_sources(tagged, "sib200", eval_data, tmp_path).choices
    assert {str(choice.target) for choice in chosen} == {"eng_Latn", "deu_Latn", "hin_Deva", "rus_Cyrl"}


def test_tags_of_a_trained_folder_are_swapped(tagged, data):
    """The loss is that of the model itself, called with the ids of each sentence, and with those of others."""
    found = tag_swap(tagged, data, tokens_per_sample=32)
    model, valid = load_tagged(tagged).eval(), DataBin(data, "valid", tokens_per_sample=32)
    totals, counts = {"right": 0.0, "both unknown": 0.0}, 0
    with torch.no_grad():
        for first in range(0, len(valid), 50):
            batch = valid.collate(valid.__getitems__(range(first, min(first + 50, len(valid)))))
            plain = {name: batch[name] for name in ("input_ids", "attention_mask")}
            masked = batch["labels"] != -100
            counts += int(masked.sum())
            ids = {name: batch[name] for name in ("lang_ids", "script_ids")}
            for name, given in (("right", ids), ("both unknown", {})):
                logits = model(**plain, **given).logits[masked]
                loss = torch.nn.functional.cross_entropy(logits, batch["labels"][masked], reduction="sum")
                totals[name] += loss.item() / math.log(2)
    assert found["masked_tokens"] == counts
    assert {name: total / counts for name, total in totals.items()} == pytest.approx(
        {name: found["loss"][name] for name in totals}, rel=1e-5
    )
    assert len({round(value, 7) for value in found["loss"].values()}) == 5, "each swap has another loss"


def test_tags_of_a_folder_need_data_and_tables(data, exported, tagged, tmp_path):
    """The data and the length of its blocks are not in a folder."""
    stock = transformers.BertForMaskedLM(transformers.BertConfig(**SIZES))
    stock.save_pretrained(tmp_path)
    for model, folder, length, message in (
        (tagged, None, 0, "which does not name its data: set --data to a data folder"),
        (exported, data, 0, "must have the vocabulary of the tokenizer"),
        (tmp_path, data, 0, "must have tables, but has none: use a model that was trained with them"),
        (tagged, data, 400, "--tokens-per-sample must be 2 to 298 for"),
        (tagged, data, 1, "--tokens-per-sample must be 2 to 298 for .*, but is 1"),
    ):
        with pytest.raises(ValueError, match=message):
            tag_swap(model, folder, tokens_per_sample=length)


def test_data_of_another_tokenizer_of_the_same_size(demo, trained, exported, tmp_path):
    """Ids mean the same pieces on both sides, or nothing is measured."""
    found = tag_swap(exported, demo / "data-bin", blocks=1)
    assert found["masked_tokens"] > 0
    data = shutil.copytree(demo / "data-bin", tmp_path / "data")
    first, second, *others = (data / "dict.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (data / "dict.txt").write_text("".join((second, first, *others)), encoding="utf-8")
    with pytest.raises(
        ValueError, match="must be binarized with the tokenizer of .*, but 2 of 1,997 pieces have anoth"
    ):
        tag_swap(exported, data, blocks=1)
    with pytest.raises(ValueError, match="was trained with another dictionary"):
        tag_swap(trained, data, blocks=1)


def test_what_does_not_fit_is_named(demo, folder, data, tmp_path):
    corpus = demo / "corpus" / "train"
    for flags, message in (
        ((), "either --spm MODEL or --tokenizer FOLDER must be given"),
        (("--spm", demo / "spm.model", "--tokenizer", folder), "but not both"),
        (("--tokenizer", demo / "spm.model"), "must be a folder with tokenizer.json"),
        (("--tokenizer", tmp_path), "tokenizer.json is missing: --tokenizer takes the folder of a model"),
        (("--spm", folder), "must be a file, but is a folder"),
    ):
        assert message in run("langsamp", "binarize", corpus, "--out", tmp_path / "out", *flags, expect=2)
    with pytest.raises(ValueError, match="was made with another tokenizer"):
        binarize(corpus, demo / "spm.model", data)
    with pytest.raises(ValueError, match="was made with a SentencePiece model"):
        binarize(corpus, folder, demo / "data-bin")
    bare = json.loads((folder / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    del bare["mask_token"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(bare))
    with pytest.raises(ValueError, match="must have tokens for mask, but has none"):
        FolderTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="must hold a tokenizer, but does not load"):
        FolderTokenizer(tmp_path)
    good = json.loads((data / "tokenizer_ids.json").read_text())
    for change in ({"pad": 10**6}, {"mask": "[MASK]"}, {"size": None}):
        (tmp_path / "tokenizer_ids.json").write_text(json.dumps({**good, **change}))
        with pytest.raises(ValueError, match="tokenizer_ids.json is damaged"):
            read_token_ids(tmp_path / "tokenizer_ids.json")
