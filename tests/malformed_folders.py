"""Malformed folders of Hugging Face's: configuration, weights, tables, tokenizer."""

import struct

import torch
from malformed_inputs import RUBBISH, Case, both, change, cut, edit_json, put, remove
from support import Evil

FC1, WORD = "roberta.encoder.layer.1.intermediate.dense.weight", "roberta.embeddings.word_embeddings.weight"
CONFIG, MODEL, TABLES = "hf/config.json", "hf/model.safetensors", "langsamp.safetensors"


def tensors(edit, name="model.safetensors"):
    """Edit the tensors of a file of the folder."""

    def damage(folder):
        from safetensors.torch import load_file, save_file

        found = {key: tensor.clone() for key, tensor in load_file(folder / "hf" / name).items()}
        edit(found)
        save_file(found, folder / "hf" / name, {"format": "pt"})

    return damage


def as_pickle(content):
    def damage(folder):
        (folder / "hf" / "model.safetensors").unlink()
        torch.save(content, folder / "hf" / "pytorch_model.bin")

    return damage


def folder_cases():
    readers = ("import", "init folder", "info folder", "evaluate sr_bible", "analyze neutrality")
    for setup in readers:
        for what, damage in (
            ("missing", remove(CONFIG)),
            ("cut off", cut(CONFIG, 0.5)),
            ("a list", put(CONFIG, "[]")),
            ("rubbish", put(CONFIG, RUBBISH)),
            ("a word for its width", edit_json(CONFIG, hidden_size="wide")),
            ("a negative width", edit_json(CONFIG, hidden_size=-32)),
            ("no width", edit_json(CONFIG, hidden_size=None)),
            ("a list for its layers", edit_json(CONFIG, num_hidden_layers=[2])),
            ("10**12 layers", edit_json(CONFIG, num_hidden_layers=10**12)),
            ("10**15 words", edit_json(CONFIG, vocab_size=10**15)),
            ("a layer too many", edit_json(CONFIG, num_hidden_layers=3)),
            ("another width", edit_json(CONFIG, hidden_size=64)),
            ("three heads", edit_json(CONFIG, num_attention_heads=3)),
            ("no positions", edit_json(CONFIG, max_position_embeddings=0)),
            ("a word for epsilon", edit_json(CONFIG, layer_norm_eps="small")),
        ):
            if not (setup == "info folder" and what == "missing"):  # which is then no folder of a model at all
                yield Case(setup, f"a configuration: {what}", "in/hf", damage)
        for what, damage in (
            ("cut off", cut(MODEL, 0.7)),
            ("cut in its header", cut(MODEL, 0.001)),
            ("rubbish", put(MODEL, RUBBISH)),
            ("nothing", put(MODEL, b"")),
            ("a huge header", change(MODEL, lambda data: struct.pack("<Q", 2**60) + data[8:])),
            ("a header that is not JSON", change(MODEL, lambda data: data[:8] + b"x" * 8 + data[16:])),
            ("a layer missing", tensors(lambda found: found.pop(FC1))),
            ("no embedding", tensors(lambda found: found.pop(WORD))),
            ("another shape", tensors(lambda found: found.update({FC1: found[FC1][:, 1:].contiguous()}))),
            (
                "an embedding with rows missing",
                tensors(lambda found: found.update({WORD: found[WORD][:-5].contiguous()})),
            ),
            ("code in pytorch_model.bin only", as_pickle({WORD: torch.zeros(2), "evil": Evil()})),
        ):
            if setup != "info folder" or "code" not in what:  # which says that there is a pickle, and leaves it closed
                yield Case(setup, f"weights: {what}", "in/hf", damage)
        code = as_pickle({WORD: torch.zeros(2), "evil": Evil()})
        if setup in ("import", "init folder"):
            yield Case(setup, "code in pytorch_model.bin, allowed", "pytorch_model.bin", code, ("--allow-pickle",))
    yield from vocabulary_cases()


def vocabulary_cases():
    for setup in ("import", "init folder"):
        yield Case(setup, "no SentencePiece model", "sentencepiece.bpe.model", remove("hf/sentencepiece.bpe.model"))
        yield Case(
            setup, "a cut SentencePiece model", "sentencepiece.bpe.model", cut("hf/sentencepiece.bpe.model", 0.5)
        )
        yield Case(setup, "another kind of model", "model_type", edit_json(CONFIG, model_type="bert"))
        away = both(remove(MODEL), put(f"{MODEL}.index.json", '{"weight_map": {"a": "../../evil.safetensors"}}'))
        yield Case(setup, "an index that leaves the folder", "evil.safetensors", away)
    for setup in ("evaluate sr_bible", "analyze neutrality"):
        for what, content in (("cut off", '{"version": "1.0", "mod'), ("another kind", "[]"), ("rubbish", RUBBISH)):
            yield Case(setup, f"a tokenizer: {what}", "in/hf", put("hf/tokenizer.json", content))
        yield Case(
            setup,
            "code in the folder",
            "in/hf",
            edit_json(CONFIG, model_type="evil", auto_map={"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}),
        )
    yield from folder_table_cases()


def folder_table_cases():
    for setup in ("import", "init folder", "info folder", "analyze embeddings", "analyze sources"):
        for what, damage in (
            ("cut off", cut(f"hf/{TABLES}", 0.9)),
            ("rubbish", put(f"hf/{TABLES}", RUBBISH)),
            (
                "a row too many",
                tensors(lambda found: found.update({"lang_embedding.weight": torch.zeros(99, 32)}), TABLES),
            ),
            (
                "another width",
                tensors(
                    lambda found: found.update({name: found[name][:, 1:].contiguous() for name in [*found]}), TABLES
                ),
            ),
            ("one dimension", tensors(lambda found: found.update({"lang_embedding.weight": torch.zeros(7)}), TABLES)),
            ("no script table", tensors(lambda found: found.pop("script_embedding.weight"), TABLES)),
            ("no languages", remove("hf/languages.tsv")),
            ("a code twice", put("hf/languages.tsv", "eng\neng\n")),
            ("paths for codes", put("hf/languages.tsv", "../../evil\n")),
            ("rubbish for codes", put("hf/scripts.tsv", RUBBISH)),
        ):
            yield Case(setup, f"tables: {what}", "in/hf", damage)
    for setup in ("analyze embeddings", "import", "info folder"):
        for what, tags in (("paths", ["../../evil_Latn"]), ("numbers", [1]), ("a word", "eng_Latn")):
            yield Case(setup, f"{what} for tags", "config.json", edit_json(CONFIG, langsamp_tags=tags))
    yield Case("analyze embeddings", "no configuration", "config.json", remove(CONFIG))
    yield Case(
        "analyze embeddings",
        "values that are not numbers",
        "in/hf",
        tensors(lambda found: found["lang_embedding.weight"].fill_(float("nan")), TABLES),
    )
