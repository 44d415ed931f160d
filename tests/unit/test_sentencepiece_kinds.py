"""SentencePiece models of kinds that the exported tokenizer cannot reproduce are refused; the others are reproduced."""

import random
import re
import shutil
import unicodedata

import pytest
import sentencepiece

from langsamp_plugin.convert.tokenizer_comparison import compare_tokenizers
from langsamp_plugin.convert.tokenizer_files import save_tokenizer
from langsamp_plugin.corpus.text import read_lines
from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.vocabulary.dictionary import read_dictionary
from langsamp_plugin.vocabulary.ordered_tokenizer import OrderedTokenizer
from langsamp_plugin.vocabulary.tokenizer import SPM_FILENAME, Tokenizer


def train(demo, folder, **options):
    files = sorted(map(str, (demo / "corpus" / "train").glob("*.txt")))
    sentencepiece.SentencePieceTrainer.train(
        input=files, model_prefix=str(folder / "spm"), vocab_size=2200, hard_vocab_limit=False, minloglevel=2,
        **{"model_type": "unigram", **options},
    )  # fmt: skip
    return folder / "spm.model"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "bpe"}, "model_type must be unigram, but is bpe"),
        ({"model_type": "word"}, "model_type must be unigram, but is word"),
        ({"byte_fallback": True}, "byte_fallback"),
        ({"add_dummy_prefix": False}, "add_dummy_prefix=false"),
        ({"remove_extra_whitespaces": False}, "remove_extra_whitespaces=false"),
        ({"treat_whitespace_as_suffix": True}, "treat_whitespace_as_suffix"),
        ({"split_by_whitespace": False}, "pieces across words"),
        ({"user_defined_symbols": ["<url>"]}, "user-defined symbols, first '<url>'"),
        ({"user_defined_symbols": ["<mask>"]}, "has <mask> among its pieces.*--user_defined_symbols"),
        ({"pad_id": 3}, "has <pad> among its pieces.*--pad_id"),
        ({"control_symbols": ["<ctl>"]}, "control symbols"),
        *(
            ({"normalization_rule_name": name}, f"normalizer must be nmt_nfkc, but is {name}")
            for name in ("identity", "nfkc", "nmt_nfkc_cf")
        ),
    ],
)
def test_refused_before_the_first_byte(demo, tmp_path, options, message):
    model = train(demo, tmp_path, **options)
    with pytest.raises(ValueError, match=message) as error:
        binarize(demo / "corpus" / "train", model, tmp_path / "data")
    assert str(model) in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "data").exists()


def odd_sentences(demo):
    """1,000 lines: real ones with emoji, tabs and double spaces put in, and a line of letters of every script."""
    lines = [line for path in sorted((demo / "corpus" / "valid").glob("*.txt")) for line in read_lines(path)][:500]
    odd = ["\U0001f600 ", "\t", "  ", "\u3000", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u00a0", "\ufb01"]
    lines = [
        odd[number % len(odd)].join([line[: len(line) // 2], line[len(line) // 2 :]])
        for number, line in enumerate(lines)
    ]
    for start in range(0x21, 0x20000, 24):
        letters = [chr(code) for code in range(start, start + 24) if unicodedata.category(chr(code))[0] == "L"]
        if letters and len(lines) < 1000:
            lines.append(" ".join(letters[:12]) + " " + "".join(letters[12:]))
    return lines


@pytest.mark.parametrize("options", [{}, {"split_digits": True}, {"model_type": "char"}])
def test_others_are_reproduced(demo, tmp_path, options):
    from transformers import AutoTokenizer

    tokenizer = Tokenizer(train(demo, tmp_path, **options))
    (tmp_path / "hf").mkdir()
    save_tokenizer(tokenizer, tmp_path / "hf", 512)
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "xlm-roberta"}')
    (tmp_path / "text").mkdir()
    lines = odd_sentences(demo)
    assert len(lines) == 1000
    (tmp_path / "text" / "und_Zyyy.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = compare_tokenizers(tokenizer, AutoTokenizer.from_pretrained(tmp_path / "hf"), tmp_path / "text")
    assert [row.difference for row in rows] == [0, 0], rows


def test_marks_are_kept(demo, tmp_path):
    """Letters and marks at random, in every order; the control is transformers' own normaliser."""
    from transformers import AutoTokenizer, XLMRobertaTokenizerFast

    tokenizer = Tokenizer(demo / "spm.model")
    shutil.copy(demo / "spm.model", tmp_path / SPM_FILENAME)
    stock = XLMRobertaTokenizerFast.from_pretrained(tmp_path)
    save_tokenizer(tokenizer, tmp_path, 512)
    (tmp_path / "config.json").write_text('{"model_type": "xlm-roberta"}')
    ours = AutoTokenizer.from_pretrained(tmp_path)
    draw = random.Random(1)
    known = "o\u1ecdA\u03a9\u0915\u0928\xa0\xaa\ufb01\ufee7\u3131\u314f\uac00\u11a8\U0001d5c8\uff5e\u1100\u1161"
    marks = "\u0301\u0323\u0302\u0327\u0345\u0341\u093c\u093e\u0902\u064b\u0651\u05bc\u200d\uff9e\ufe0f"
    lines = ["".join(draw.choice(known if draw.random() < 0.5 else marks) for _ in range(8)) for _ in range(2000)]
    # U+0323 after U+0301 and the other way round: Yoruba and Vietnamese when they are decomposed.
    lines += ["o\u0323\u0301 a\u0301\u0323 \u0915\u094d\u200d\u0937", "n\xa0\u0902 x\ufb01\u0301"]

    def normalized(fast, line):
        found = fast.backend_tokenizer.normalizer.normalize_str(f"x{line}x")
        return found.replace("\u2581", " ")  # which transformers 4 puts where several spaces are

    expected = [tokenizer.processor.normalize(f"x{line}x").lstrip("\u2581").replace("\u2581", " ") for line in lines]
    collapsed = [[re.sub(" +", " ", normalized(fast, line)) for line in lines] for fast in (ours, stock)]
    assert collapsed[0] == expected
    assert sum(one != other for one, other in zip(collapsed[1], expected)) > 500
    assert ours("a", "b").keys() == {"input_ids", "attention_mask"}


def test_a_dictionary_in_another_order(demo, tmp_path):
    tokenizer = Tokenizer(demo / "spm.model")
    lines = (demo / "data-bin" / "dict.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "dict.txt").write_text("\n".join([*lines[:0:-1], "madeupword0000 0"]) + "\n", encoding="utf-8")
    ordered = OrderedTokenizer(demo / "spm.model", read_dictionary(tmp_path / "dict.txt"))
    one, other = tokenizer.encode(["Guten Morgen"])[0], ordered.encode(["Guten Morgen"])[0]
    names, others = (
        ["<s>", "<pad>", "</s>", "<unk>", *tokenizer.pieces],
        ["<s>", "<pad>", "</s>", "<unk>", *ordered.pieces],
    )
    lacking = tokenizer.pieces[0]
    assert [names[i] if names[i] != lacking else "<unk>" for i in one] == [others[i] for i in other]
    assert one.tolist() != other.tolist()
