"""Binarized pairs: who says what, and damage; and which pair comes when."""

import itertools
import json
import re

import numpy as np
import pytest
from small_pairs import TEXTS, write

from langsamp_plugin.corpus.pairs import id_hash
from langsamp_plugin.data.batches import PairedWorkerBatches, PositionBatches
from langsamp_plugin.data.masking import Masking
from langsamp_plugin.data.pair_batches import PairBatches, length_cuts
from langsamp_plugin.data.pair_binarizer import binarize_pairs
from langsamp_plugin.data.pair_data import PairSplit
from langsamp_plugin.data.pair_sampling import PairSampler, PairSchedule
from langsamp_plugin.lang_script import LangScript, Tables
from langsamp_plugin.vocabulary.dictionary import dictionary_digest
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


def open_split(binarized, demo, split="train"):
    tokenizer = Tokenizer(demo / "spm.model")
    return PairSplit(binarized / "pairs", split, tokenizer.vocab_size, dictionary_digest(tokenizer.pieces))


def test_every_sentence_and_who_says_it(binarized, demo):
    tokenizer, split = Tokenizer(demo / "spm.model"), open_split(binarized, demo)
    assert [str(tag) for tag in split.languages] == ["deu_Latn", "eng_Latn", "rus_Cyrl"]
    names = sorted({name for tag in TEXTS for name in TEXTS[tag]}, key=id_hash)
    names = [name for name in names if sum(name in messages for messages in TEXTS.values()) > 1]
    assert split.num_messages == len(names)
    found = {}
    for message, name in enumerate(names):
        languages, rows = split.sentences(message)
        assert languages.tolist() == sorted(languages.tolist()) and len(languages) > 1
        for language, row in zip(languages.tolist(), rows.tolist()):
            assert split.message(language, row) == message
            found[str(split.languages[language]), name] = split.tokens(language, row).tolist()
    expected = {
        (tag, name): tokenizer.encode([text])[0].tolist()
        for tag, messages in TEXTS.items()
        for name, text in messages.items()
        if name in names
    }
    assert found == expected
    tables = Tables.load(binarized)
    assert tables.languages.codes[0] == "zul" and set(tables.languages) == {"zul", "eng", "deu", "rus"}


def test_done_once(pairs, binarized, demo):
    before = (binarized / "pairs" / "pairs.json").stat()
    binarize_pairs(pairs, demo / "spm.model", binarized)
    assert (binarized / "pairs" / "pairs.json").stat().st_ino == before.st_ino
    write(pairs / "train", {"fra_Latn": {"m1": "bonjour"}})
    record = binarize_pairs(pairs, demo / "spm.model", binarized)
    assert "fra_Latn" in record["splits"]["train"]["languages"]


def _replace(path, pattern, text):
    path.write_text(re.sub(pattern, text, path.read_text()))


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda folder: (folder / "train.entries").write_bytes(b"12345678"), "missing or cut off"),
        (lambda folder: (folder / "eng_Latn" / "train.messages").unlink(), "missing or cut off"),
        (lambda folder: (folder / "eng_Latn" / "train.bin").write_bytes(b""), "cut off or of another run"),
        (lambda folder: (folder / "pairs.json").write_text("[]"), "is damaged"),
        (lambda folder: (folder / "pairs.json").write_text('{"types": 7, "splits": {}}'), "vocabulary of 7"),
        (lambda folder: _replace(folder / "pairs.json", r'"dictionary": "\w+"', '"dictionary": "7"'), "another vocab"),
    ],
)
def test_damage_is_named(binarized, demo, damage, said):
    damage(binarized / "pairs")
    with pytest.raises(ValueError, match=said):
        open_split(binarized, demo)


def make_sampler(split, **changes):
    settings = {"alpha": 0.5, "seed": 3, "keys": np.arange(len(split.counts), dtype=np.uint64), **changes}
    return PairSampler(counts=split.counts, message=split.message, sentences=split.sentences, **settings)


def test_order_is_a_function_of_seed_and_place(binarized, demo):
    split = open_split(binarized, demo)
    sampler = make_sampler(split)
    together = sampler.pairs(0, 200)
    assert [pair for start in range(0, 200, 7) for pair in make_sampler(split).pairs(start, start + 7)][
        :200
    ] == together
    assert make_sampler(split, seed=4).pairs(0, 200) != together
    for pair in together:
        assert pair.languages[0] != pair.languages[1]
        assert [split.message(*place) for place in zip(pair.languages, pair.rows)] == [pair.message] * 2
    # A pass over a language has each of its sentences once.
    with_all = make_sampler(split, alpha=1).pairs(0, len(split))
    assert len({(pair.languages[0], pair.rows[0]) for pair in with_all}) == len(split)


def test_pivot_is_the_partner_wherever_it_can_be(binarized, demo):
    split = open_split(binarized, demo)
    pivot = [str(tag) for tag in split.languages].index("rus_Cyrl")
    for pair in make_sampler(split, pivot=pivot).pairs(0, 100):
        said_by = split.sentences(pair.message)[0]
        assert (pivot in pair.languages) == (pivot in said_by)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
def test_share_of_rounds(share):
    schedule = PairSchedule(share, 4)
    places = [schedule.places(number, worker, 2) for number in range(100) for worker in range(2)]
    assert all((one is None) == (other is None) for one, other in zip(places[::2], places[1::2]))
    starts = [place[0] for place in places if place is not None]
    assert starts == list(range(0, 4 * len(starts), 4)) and len(starts) == round(200 * share)


def test_resumed_rounds_have_the_pairs_of_uninterrupted_ones(binarized, demo):
    pairs = make_batches(open_split(binarized, demo))

    def requests(start, shard):
        batches = PositionBatches(start, 203, 8)
        return list(PairedWorkerBatches(batches, 2, shard, pairs=pairs, rounds_before=203 // 16))

    for shard in range(2):
        everything = requests(0, shard)
        assert requests(5 * 16, shard) == everything[5:]
        assert everything[-1].places == ()  # a round that one worker has no block for
    first = make_batches(open_split(binarized, demo)).schedule.rounds_before(203 // 16) * 2 * pairs.schedule.pairs
    assert min(request.places[0] for request in everything if request.places) >= first


@pytest.mark.parametrize("lengths", [(40, 20, 70), (24, 25, 31, 16, 16)], ids=str)
def test_pairs_continue_over_epochs_of_any_length(binarized, demo, lengths):
    """Folders and phases differ in length, and an epoch can be too short to have any pair by its share alone."""
    pairs = make_batches(open_split(binarized, demo))
    for share in (0.5, 0.15):
        pairs.schedule = PairSchedule(share, 6)
        places, before = [], 0
        for length in lengths:
            for request in PairedWorkerBatches(
                PositionBatches(0, length, 8), 1, 0, pairs=pairs, rounds_before=before
            ):  # fmt: skip
                places += range(*request.places) if request.places else ()
            before += length // 8
        assert places == list(range(6 * int(before * share)))


def make_batches(split, objective="contrast", max_tokens=32):
    ids = np.arange(len(split.languages))
    return PairBatches(
        split, make_sampler(split), PairSchedule(0.5, 6), lang_ids=ids, script_ids=ids + 10,
        masking=masking(split.types),
        bos_id=0, eos_id=2, max_tokens=max_tokens, objective=objective,
    )  # fmt: skip


def masking(size):
    special = np.zeros(size, dtype=bool)
    special[[0, 1, 2, 3, size - 1]] = True
    weights = (~special).astype(float)
    return Masking(special, size - 1, 1, np.cumsum(weights) / weights.sum())


def unmasked_rows(batch):
    """The rows of all parts in the order of the pairs, without padding, with their language ids."""
    rows = []
    for part in batch["parts"]:
        tokens, target = part["net_input"]["src_tokens"], part["target"]
        tokens = tokens.where(target.eq(1), target)
        for number, length in enumerate(part["net_input"]["src_lengths"].tolist()):
            rows.append((tokens[number, :length].tolist(), part["net_input"]["lang_ids"][number].tolist()))
    return [rows[place] for place in batch["order"].tolist()]


@pytest.mark.parametrize("max_tokens", [32, 5])
def test_batch_has_both_sides_in_order(binarized, demo, max_tokens):
    split = open_split(binarized, demo)
    make = make_batches(split, max_tokens=max_tokens)
    rows = unmasked_rows(make.batch(10, 30))
    for side in (0, 1):
        for place, (tokens, language) in zip(make.sampler.pairs(10, 30), rows[20 * side :]):
            sentence = split.tokens(place.languages[side], place.rows[side]).tolist()
            if len(sentence) > max_tokens - 1:
                sentence = [*sentence[: max_tokens - 2], 2]
            assert (tokens, language) == ([0, *sentence], place.languages[side])


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_rows_are_cut_where_the_least_is_padded(parts):
    """Against every possible cut."""
    generator = np.random.default_rng(0)
    for count in (1, 2, 9, 12):
        lengths = np.sort(generator.integers(1, 30, count))

        def padded(cuts, lengths=lengths):
            return sum(len(part) * (1 + part[-1]) for part in np.split(lengths, cuts) if len(part))

        cuts = length_cuts(lengths, parts)
        assert len(cuts) < parts and all(len(part) for part in np.split(lengths, cuts))
        every = itertools.combinations_with_replacement(range(count + 1), parts - 1)
        assert padded(cuts) == min(padded(list(other)) for other in every)


def test_tlm_has_both_sentences_in_a_row_with_the_language_of_each_token(binarized, demo):
    split = open_split(binarized, demo)
    make = make_batches(split, "tlm", max_tokens=99)
    for place, (tokens, languages) in zip(make.sampler.pairs(0, 9), unmasked_rows(make.batch(0, 9))):
        one, other = (split.tokens(*at).tolist() for at in zip(place.languages, place.rows))
        assert tokens == [0, *one, *other]
        assert languages[: len(tokens)] == [place.languages[0]] * (1 + len(one)) + [place.languages[1]] * len(other)


def test_equal_texts_and_messages_are_told_by_equal_numbers(pairs, demo, tmp_path):
    write(pairs / "train", {"eng_Latn": {**TEXTS["eng_Latn"], "m7": TEXTS["eng_Latn"]["m8"]}})
    out = tmp_path / "other"
    out.mkdir()
    Tables.of([LangScript("zul", "Latn")]).save(out)
    binarize_pairs(pairs, demo / "spm.model", out)
    split = open_split(out, demo)
    make = make_batches(split)
    batch, places = make.batch(0, 60), make.sampler.pairs(0, 60)
    text = [[tuple(split.tokens(*at).tolist()) for at in zip(place.languages, place.rows)] for place in places]
    for i, one in enumerate(places):
        for j, other in enumerate(places):
            related = bool(set(batch["related"][i].tolist()) & set(batch["related"][j].tolist()))
            assert related == (one.message == other.message or bool(set(text[i]) & set(text[j])))
    assert json.loads((out / "pairs" / "pairs.json").read_text())["splits"]["train"]["messages"]
