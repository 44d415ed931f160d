"""Data and models with a tokenizer of transformers that is not a SentencePiece model."""

import json

import numpy as np
import pytest
import torch
from support import run
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.evaluation.run import evaluate
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


def test_a_model_trains_and_is_evaluated(demo, folder, data, eval_data, tmp_path):
    from transformers import TrainingArguments

    train = DataBin(data, tokens_per_sample=32)
    config = BertConfig(
        vocab_size=train.vocab_size + 3, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=300, pad_token_id=read_token_ids(data / "tokenizer_ids.json").pad,
    )  # fmt: skip
    torch.manual_seed(0)
    model = add_tags(BertForMaskedLM(config), train.tables)
    args = TrainingArguments(str(tmp_path), max_steps=2, use_cpu=True, report_to=[], disable_tqdm=True)
    before = model.lang_embedding.weight.detach().clone()
    LangSampTrainer(model, args, train_dataset=train).train()
    assert not torch.equal(before, model.lang_embedding.weight)
    model.save_pretrained(tmp_path / "model")
    PreTrainedTokenizerFast.from_pretrained(data / "tokenizer").save_pretrained(tmp_path / "model")
    (result,) = evaluate(tmp_path / "model", eval_data, tmp_path / "results", ["sr_bible"], langs=["deu_Latn"])
    assert 0 <= result.scores["deu_Latn"]["top10"][0] <= 100 and result.sizes["deu_Latn"] > 10
    loaded = load_tagged(tmp_path / "model")
    assert torch.equal(loaded.script_embedding.weight, model.script_embedding.weight)
    with pytest.raises(ValueError, match=r"must have the vocabulary of the tokenizer, 505 ids, but has 5,000"):
        train.check_model(BertForMaskedLM(BertConfig(**{**config.to_dict(), "vocab_size": 5000})))


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
