"""Training through the real fairseq-train, on real text."""

import csv
import re
import shutil

import pytest
import torch
from support import LANGS, assert_same, run, train_command, weights

from langsamp_plugin.checkpoint.loading import load_checkpoint
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.lang_script import Tables
from langsamp_plugin.modules.tag_embedding import decode_codes

pytestmark = pytest.mark.filterwarnings("ignore")


def test_log_checkpoint_and_validation_table(demo, tmp_path):
    log = run(*train_command(demo / "data-bin", tmp_path, 10, "--tensorboard-logdir", tmp_path / "tb"))
    assert re.search(r"bits per masked token, by language: \w{3}_\w{4} [\d.]+, .*eng_Latn [\d.]+", log)
    assert re.search(r"by script: .*Deva [\d.]+", log)
    assert re.search(
        r"7 languages, [\d,]+ sentences, [\d,]+ tokens, [\d,]+ blocks of which [1-7] are short", log
    ) and re.search(r"eng_Latn\s+\d+\s+\d+\s+head\s+[\d,]+", log)
    assert re.search(r"valid on 'valid' subset \| loss [\d.]+ \| accuracy [\d.]+ \| ppl", log)
    assert "loss_head" in log and "loss_nonlatn" in log and re.search(r"wps=[\d.]+", log)
    state = load_checkpoint(tmp_path / "checkpoint_last.pt")
    assert state["task_state"]["tags"] == sorted(LANGS)
    assert state["task_state"]["languages"] == decode_codes(state["model"]["encoder.lang_embedding.codes"])
    with open(tmp_path / "validation" / "10.tsv") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    by_tag = {row["name"]: row for row in rows if row["kind"] == "tag"}
    assert sorted(by_tag) == sorted(LANGS)
    # The total is the mean over masked tokens, the macro average the mean over tags.
    tokens = {name: int(row["masked_tokens"]) for name, row in by_tag.items()}
    mean = sum(float(row["loss_bits"]) * tokens[name] for name, row in by_tag.items()) / sum(tokens.values())
    assert float(re.search(r"valid' subset \| loss ([\d.]+)", log)[1]) == pytest.approx(mean, abs=2e-3)
    macro = next(float(row["loss_bits"]) for row in rows if row["name"] == "macro")
    assert macro == pytest.approx(sum(float(row["loss_bits"]) for row in by_tag.values()) / len(by_tag), abs=1e-3)
    assert list((tmp_path / "tb" / "valid_by_tag").iterdir())


def test_stock_roberta_checkpoint_is_continued(demo, tmp_path):
    """A real stock checkpoint, trained by stock fairseq on the same vocabulary, becomes the start of a LangSAMP run."""
    stock_data = tmp_path / "stock-data"
    stock_data.mkdir()
    shutil.copy(demo / "data-bin" / "dict.txt", stock_data)
    for split in ("train", "valid"):
        for ending in ("bin", "idx"):
            shutil.copy(demo / "data-bin" / "deu_Latn" / f"{split}.{ending}", stock_data)
    run(*train_command(stock_data, tmp_path / "stock", 12, "--max-positions", 32, arch="roberta", task="masked_lm"))
    stock = tmp_path / "stock" / "checkpoint_last.pt"
    for flag in ("--restore-file", "--finetune-from-model"):
        folder = tmp_path / flag.strip("-")
        resets = (
            ["--reset-optimizer", "--reset-dataloader", "--reset-lr-scheduler", "--reset-meters"]
            if flag == "--restore-file"
            else []
        )
        # At learning rate 0 what is saved is what was restored.
        log = run(
            *train_command(
                demo / "data-bin", folder, 13 if resets else 1, flag, stock, *resets, "--lr", 0, "--max-positions", 32
            )
        )
        assert "language table: the checkpoint has none" in log
        restored = weights(folder / "checkpoint_last.pt")
        for name, weight in weights(stock).items():
            assert torch.equal(restored[name], weight), name
        log = run(
            *train_command(demo / "data-bin", tmp_path / f"{flag}-go", 25, flag, stock, *resets, "--max-positions", 32)
        )
        assert "loss" in log


def test_other_inventory_moves_rows_by_code(demo, trained, tmp_path):
    """Rows follow their codes into the published tables, in which every id is another one."""
    log = run(
        *train_command(
            demo / "data-bin", tmp_path, 1, "--finetune-from-model", trained, "--tables", "glot500", "--lr", 0
        )
    )
    assert (
        "rows carried over by code" in log
        and "604 rows that the checkpoint lacks start as N(0, 0.02)" in log
        and "`langsamp init" in log
    )
    before, after = weights(trained), weights(tmp_path / "checkpoint_last.pt")
    for noun, table in zip(("lang", "script"), Tables.glot500()):
        old_codes = decode_codes(before[f"encoder.{noun}_embedding.codes"])
        assert decode_codes(after[f"encoder.{noun}_embedding.codes"]) == list(table)
        rows = [table.id(code) for code in old_codes]
        assert rows != list(range(len(rows)))
        assert torch.equal(after[f"encoder.{noun}_embedding.weight"][rows], before[f"encoder.{noun}_embedding.weight"])


def test_code_that_the_tables_lack_is_named(demo, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "languages.tsv").write_text("eng\ndeu\n")
    (tmp_path / "tables" / "scripts.tsv").write_text("Latn\n")
    log = run(*train_command(demo / "data-bin", tmp_path / "save", 1, "--tables", tmp_path / "tables"), expect=1)
    assert "language 'hin' is not among the 2 codes" in log and "--tables data" in log


def test_other_vocabulary_is_refused_with_both_sizes(demo, trained, tmp_path):
    from langsamp_plugin.vocabulary.tokenizer import train_tokenizer

    train_tokenizer(demo / "corpus" / "train", tmp_path / "spm.model", 1500)
    binarize(demo / "corpus" / "train", tmp_path / "spm.model", tmp_path / "data")
    log = run(*train_command(tmp_path / "data", tmp_path / "save", 1, "--finetune-from-model", trained), expect=1)
    assert re.search(r"2,002 types in the checkpoint and 1,502 here .*langsamp init", log)


def test_an_encoder_of_another_shape_is_refused_with_the_flags(demo, trained, tmp_path):
    wider = ("--encoder-embed-dim", 48, "--finetune-from-model", trained)
    log = run(*train_command(demo / "data-bin", tmp_path, 1, *wider), expect=1)
    assert (
        "2 layers of width 32 (64 inside) in the checkpoint and 2 of 48 (64) here: set --encoder-layers 2 --enc" in log
    )


def test_uneven_data_folder(demo, tmp_path):
    """Shards that lack languages, no valid split, a tag from a map, an old fairseq folder name, a stray folder."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, tags in ((one, LANGS[:5]), (two, LANGS[3:])):
        for tag in tags:
            shutil.copytree(demo / "data-bin" / tag, folder / tag)
        shutil.copy(demo / "data-bin" / "dict.txt", folder)
    (one / "eng_Latn").rename(one / "en_XX")
    (one / "deu_Latn").rename(one / "my_german")
    (one / "rus_Cyrl" / "valid.idx").unlink()
    (one / "rus_Cyrl" / "valid.bin").unlink()
    (one / "logs").mkdir()
    (tmp_path / "map.tsv").write_text("my_german\tde\n")
    command = train_command(
        f"{one}:{two}",
        tmp_path / "save",
        40,
        "--tag-map",
        tmp_path / "map.tsv",
        "--tag-dropout",
        0.2,
        "--batch-size",
        64,
    )
    log = run(*command)
    assert "1 languages without a valid split: rus_Cyrl" in log
    assert "2 languages that only other data folders have: hin_Deva zho_Hani" in log
    assert f"train split of {one}" in log and f"train split of {two}" in log
    assert load_checkpoint(tmp_path / "save" / "checkpoint_last.pt")["task_state"]["tags"] == sorted(LANGS)
    log = run(*train_command(one, tmp_path / "save2", 1), expect=1)
    assert "my_german" in log and "--tag-map" in log


@pytest.mark.parametrize(
    "options",
    [
        ("--max-tokens", 400, "--mask-whole-words"),
        (
            "--multilang-sampling",
            "glot500",
            "--multilang-sampling-alpha",
            0.3,
            "--multilang-sampling-scale",
            2,
            "--multilang-sampling-counts",
            "lines",
            "--num-workers",
            1,
        ),
    ],
)
def test_other_ways_through_the_data(demo, tmp_path, options):
    run(*train_command(demo / "data-bin", tmp_path / "whole", 9, *options))
    run(*train_command(demo / "data-bin", tmp_path / "parts", 4, *options))
    run(*train_command(demo / "data-bin", tmp_path / "parts", 9, *options))
    assert_same(weights(tmp_path / "whole" / "checkpoint_last.pt"), weights(tmp_path / "parts" / "checkpoint_last.pt"))


def test_break_modes_of_stock_fairseq_are_refused(demo, tmp_path):
    log = run(*train_command(demo / "data-bin", tmp_path, 1, "--sample-break-mode", "complete"), expect=1)
    assert "--sample-break-mode must be none, but is complete" in log and "leave the flag out" in log


def test_sampling_is_saved(demo, tmp_path):
    """The table says with what probability each language was drawn, and the run draws them like that."""
    options = ("--multilang-sampling-alpha", 0.3, "--multilang-sampling-counts", "lines")
    run(*train_command(demo / "data-bin", tmp_path, 1, *options))
    with open(tmp_path / "sampling.tsv", encoding="utf-8") as stream:
        rows = {row["tag"]: row for row in csv.DictReader(stream, delimiter="\t")}
    assert sorted(rows) == sorted(LANGS)
    assert sum(float(row["probability"]) for row in rows.values()) == pytest.approx(1, abs=1e-6)
    repeats = {tag: float(row["repeats"]) for tag, row in rows.items()}
    lines = {tag: int(row["sentences"]) for tag, row in rows.items()}
    # p ~ lines ** 0.3 means repeats ~ lines ** -0.7, up to the rounding of draws to complete blocks.
    base = repeats["rus_Cyrl"] * lines["rus_Cyrl"] ** 0.7
    for tag, row in rows.items():
        assert repeats[tag] * lines[tag] ** 0.7 == pytest.approx(base, rel=1.5 / int(row["draws"]) + 0.02), tag
        assert row["group"] == "head" and repeats[tag] == pytest.approx(
            int(row["draws"]) / int(row["blocks"]), abs=1e-5
        )
    assert repeats["srp_Latn"] != repeats["zho_Hani"]


def test_a_dictionary_of_another_size_is_named(demo, tmp_path):
    shutil.copytree(demo / "data-bin", tmp_path / "data")
    with open(tmp_path / "data" / "dict.txt", "a", encoding="utf-8") as stream:
        stream.write("neu 1\n")
    log = run(*train_command(tmp_path / "data", tmp_path / "save", 1), expect=1)
    assert "was binarized with a vocabulary of 2,002 token ids, but dict.txt next to it has 2,003" in log
    assert not (tmp_path / "save" / "checkpoint_last.pt").exists()


@pytest.mark.parametrize("start", ["resumed", "--finetune-from-model"])
def test_rows_of_another_dictionary_are_refused(demo, trained, tmp_path, start):
    """Of the same size, two pieces exchanged: the weights have a place, and two rows would belong to other pieces."""
    shutil.copytree(demo / "data-bin", tmp_path / "data")
    path = tmp_path / "data" / "dict.txt"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:-2], lines[-1], lines[-2]]), encoding="utf-8")
    save = tmp_path / "save"
    more = ("--reset-dataloader",) if start == "resumed" else (start, trained)
    if start == "resumed":
        save.mkdir()
        shutil.copy(trained, save / "checkpoint_last.pt")
    log = run(*train_command(tmp_path / "data", save, 22, *more), expect=1)
    assert re.search(r"\.pt was trained with another dictionary \(hash \w{16}\) than this data's dict.txt", log)
    assert "num_updates 2" not in log and not list(save.glob("checkpoint_1*"))
    # Control: with its own dictionary the same run starts.
    shutil.copy(demo / "data-bin" / "dict.txt", path)
    assert "num_updates 22" in run(*train_command(tmp_path / "data", save, 22, *more))


def test_an_average_of_the_weights_is_kept(demo, tmp_path):
    """--store-ema: the tables' codes are integers, and are copied."""
    for updates in (3, 5):
        run(*train_command(demo / "data-bin", tmp_path, updates, "--store-ema", "--ema-decay", 0.5))
    state = load_checkpoint(tmp_path / "checkpoint_last.pt")
    average, now = state["extra_state"]["ema"], state["model"]
    assert torch.equal(average["encoder.lang_embedding.codes"], now["encoder.lang_embedding.codes"])
    distance = (average["encoder.lang_embedding.weight"] - now["encoder.lang_embedding.weight"]).abs().max()
    assert 0 < distance < 0.02
