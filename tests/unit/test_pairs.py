"""Parallel text in every layout, what is left out of it and what is refused."""

import io
import tarfile

import pytest
from support import run

from langsamp_plugin.corpus.pair_layouts import find_parallel
from langsamp_plugin.corpus.pairs import write_pairs

ENGLISH = {"m1": "Good morning", "m2": "Good night", "m3": "Thank you"}
GERMAN = {"m1": "Guten Morgen", "m2": "Gute Nacht", "m4": "Bitte"}
TMX = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE tmx [<!ENTITY secret SYSTEM "file:///etc/hostname">]>
<tmx version="1.4"><header/><body>
<tu><tuv xml:lang="en-GB"><seg>Good <hi>morning</hi><bpt i="1">&lt;b&gt;</bpt></seg></tuv>
<tuv xml:lang="de"><seg>Guten   Morgen</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Good night&secret;</seg></tuv></tu>
</body></tmx>"""


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def with_ids(messages):
    return "".join(f"{name}\t{text}\n" for name, text in messages.items())


def read(source, **options):
    found = find_parallel(source, **options)
    return found.layout, {str(tag): {m.id: m.text for m in found.messages(tag)} for tag in found.streams}


@pytest.fixture
def pairs_folder(tmp_path):
    return write(tmp_path / "ids", eng_Latn__txt=with_ids(ENGLISH), deu_Latn__txt=with_ids(GERMAN))


def test_ids(pairs_folder):
    assert read(pairs_folder) == ("ids", {"deu_Latn": GERMAN, "eng_Latn": ENGLISH})


def test_lines(tmp_path):
    folder = write(tmp_path / "a", eng_Latn="one\n\nthree\n", deu_Latn="eins\nzwei\ndrei\n")
    assert read(folder) == (
        "lines",
        {"deu_Latn": {"1": "eins", "2": "zwei", "3": "drei"}, "eng_Latn": {"1": "one", "2": "", "3": "three"}},
    )


def test_moses_and_tatoeba(tmp_path):
    names = {"tatoeba.deu-eng.deu": "eins\n", "tatoeba.deu-eng.eng": "one\n", "x.de": "zwei\n", "x.ru": "два\n"}
    folder = write(tmp_path / "a", **names, index__tsv="a\tb\n", y__fr="seul\n")
    layout, found = read(folder)
    assert layout == "moses"
    assert found["deu_Latn"] == {"tatoeba.deu-eng:1": "eins", "x:1": "zwei"}
    assert found["eng_Latn"] == {"tatoeba.deu-eng:1": "one"} and found["rus_Cyrl"] == {"x:1": "два"}
    assert len(find_parallel(folder).omitted) == 2


def test_tsv(tmp_path):
    folder = write(tmp_path / "a", first__tsv="deu_Latn\teng_Latn\neins\tone\n", second__tsv="drei\tthree\tx\n")
    expected = {"deu_Latn": {"2": "eins"}, "eng_Latn": {"2": "one"}}
    assert read(folder / "first.tsv") == ("tsv", expected)
    assert read(folder / "second.tsv", tags=["de", "en", "-"])[1] == {
        "deu_Latn": {"1": "drei"},
        "eng_Latn": {"1": "three"},
    }
    (folder / "deu-eng.tsv").write_text("vier\tfour\n", encoding="utf-8")
    assert read(folder / "deu-eng.tsv")[1] == {"deu_Latn": {"1": "vier"}, "eng_Latn": {"1": "four"}}


def test_tmx_without_markup_and_without_what_it_points_to(tmp_path):
    write(tmp_path, memory__tmx=TMX)
    layout, found = read(tmp_path / "memory.tmx")
    assert layout == "tmx"
    assert found == {"eng_Latn": {"1": "Good morning", "2": "Good night"}, "deu_Latn": {"1": "Guten Morgen", "2": ""}}


def test_byte_order_marks_and_name_spaces_hide_nothing(tmp_path):
    folder = write(tmp_path / "a", eng_Latn__txt="\ufeff" + with_ids(ENGLISH), deu_Latn__txt=with_ids(GERMAN))
    assert read(folder)[1]["eng_Latn"] == ENGLISH
    write(tmp_path, first__tsv="\ufeffde\ten\neins\tone\n")
    assert read(tmp_path / "first.tsv")[1] == {"deu_Latn": {"2": "eins"}, "eng_Latn": {"2": "one"}}
    write(tmp_path, memory__tmx=TMX.replace('version="1.4"', 'version="1.4" xmlns="http://www.lisa.org/tmx14"'))
    assert read(tmp_path / "memory.tmx")[1]["eng_Latn"] == {"1": "Good morning", "2": "Good night"}


def test_udhr_keeps_articles_with_as_many_paragraphs_as_the_english(tmp_path):
    texts = {
        "eng_Latn": {"00.00": "Title", "01.01": "a", "02.01": "b", "02.02": "c"},
        "deu_Latn": {"01.01": "A", "02.01": "B"},
    }
    with tarfile.open(tmp_path / "udhr.tar.xz", "w:xz") as archive:
        for tag, messages in texts.items():
            data = with_ids(messages).encode()
            member = tarfile.TarInfo(f"udhr/{tag}.txt")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    layout, found = read(tmp_path)
    assert layout == "udhr" and found == {"eng_Latn": texts["eng_Latn"], "deu_Latn": {"01.01": "A"}}
    assert "1 articles" in find_parallel(tmp_path).omitted[0]


def test_django_is_aligned_with_the_held_out_messages_of_the_corpus(demo):
    found = find_parallel("django")
    tag = next(tag for tag in found.streams if str(tag) == "deu_Latn")
    held = {message.id: message.text for message in found.messages(tag) if message.held_out}
    lines = (demo / "corpus" / "aligned" / "deu_Latn.txt").read_text(encoding="utf-8").splitlines()
    assert held == dict(line.split("\t") for line in lines)


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_held_out_messages_and_equal_texts_are_not_trained_on(tmp_path):
    messages = {f"m{number}": f"sentence {number % 45}" for number in range(60)}
    source = write(tmp_path / "a", eng_Latn__txt=with_ids(messages), deu_Latn__txt=with_ids(messages).replace("s", "S"))
    written = write_pairs(source, tmp_path / "out", held_out=5)
    for tag in ("eng_Latn", "deu_Latn"):
        train, valid = (dict(line.split("\t") for line in lines_of(tmp_path / "out" / split / f"{tag}.txt"))
                        for split in ("train", "valid"))  # fmt: skip
        assert valid and not train.keys() & valid.keys()
        assert not set(train.values()) & set(valid.values())
        assert len(train) + len(valid) < len(messages)
    assert sum(row["same_text"] for row in written.rows) > 0
    everything = write_pairs(source, tmp_path / "all", held_out=0)
    assert everything.messages == {"train": 60, "valid": 0}


def test_test_sets_are_left_out_by_id_and_by_text(pairs_folder, tmp_path):
    tests = write(tmp_path / "tests", eng_Latn__txt="m2\tanother wording\n", deu_Latn__txt="other\tGuten Morgen\n")
    with pytest.raises(ValueError, match="must have training messages in two languages"):
        write_pairs(pairs_folder, tmp_path / "out", held_out=0, exclude=[tests])
    assert not (tmp_path / "out").exists()
    (tests / "deu_Latn.txt").write_text("other\tanders\n", encoding="utf-8")
    written = write_pairs(pairs_folder, tmp_path / "out", held_out=0, exclude=[tests])
    assert written.messages["train"] == 1 and [row["tests"] for row in written.rows] == [1, 1]
    assert lines_of(tmp_path / "out" / "train" / "eng_Latn.txt") == ["m1\tGood morning", "m3\tThank you"]


def test_languages_without_a_partner_are_listed(pairs_folder, tmp_path):
    (pairs_folder / "fra_Latn.txt").write_text("m9\tMerci\n", encoding="utf-8")
    printed = run("langsamp", "pairs", pairs_folder, "--out", tmp_path / "out", "--held-out", 0)
    assert "1 languages share no message with another language: fra_Latn" in printed
    assert "2 training messages" not in printed.splitlines()[0] or "3 language-scripts" in printed


@pytest.mark.parametrize(
    "files, options, said",
    [
        ({"eng_Latn__txt": "a\nb\n", "deu_Latn__txt": "a\n"}, (), "as many lines in each language"),
        ({"x__de": "a\n", "x__en": "a\nb\n"}, (), "as many lines in each language"),
        ({"eng_Latn__txt": "1\ta\n", "deu_Latn__txt": "2\tb\n"}, (), "ids must be equal"),
        ({"eng_Latn__txt": "1\ta\n", "deu_Latn__txt": "1\t\n"}, (), "must have training messages in two languages"),
        ({"eng_Latn__txt": "1\ta\n2\n", "deu_Latn__txt": "1\tb\n"}, (), "line 2: must be ID<tab>TEXT"),
        ({"x__tsv": "Guten Tag\tHello\n"}, (), "must name a language per column"),
        ({"x__tsv": "de\ten\na\tb\nc\n"}, (), "line 3: must have 2 columns, but has 1"),
        ({"x__tsv": "a\tb\n"}, ("--tags", "de"), "must name all 2 columns"),
        ({"x__tmx": TMX[:300]}, (), "must be complete TMX"),
        ({"readme": "a"}, (), "no parallel text"),
        ({"x__tsv": "en_US\ten_GB\tde\na\tb\tc\n"}, (), "one column per language, but eng_Latn has two"),
        ({"x__de": "a\n", "x__deu": "b\n", "x__en": "c\n"}, (), "must have one file x.* for deu_Latn"),
        ({"de__txt": "1\ta\n", "deu_Latn__txt": "1\tb\n"}, (), "must have one file for deu_Latn, but has de and"),
        ({"eng_Latn__txt": "1\ta\n1\tb\n", "deu_Latn__txt": "1\tb\n"}, (), "id '1' must occur once in eng_Latn"),
        ({"eng_Latn__txt": "1\ta\n", "deu_Latn__txt": "1\tb\n"}, ("--langs", "fra_Latn"), "has no fra_Latn"),
        ({"eng_Latn__txt": "1\ta\n", "deu_Latn__txt": "1\tb\n"}, ("--layout", "excel"), "--layout must be one of"),
    ],
)
def test_what_is_refused(tmp_path, files, options, said):
    source = write(tmp_path / "a", **files)
    printed = run("langsamp", "pairs", source, "--out", tmp_path / "out", "--held-out", 0, *options, expect=2)
    assert said in printed and len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_transliteration(tmp_path):
    pytest.importorskip("uroman")
    corpus = write(tmp_path / "a", rus_Cyrl__txt="Москва\nдругое\n", eng_Latn__txt="Moscow\n")
    printed = run("langsamp", "pairs", corpus, "--out", tmp_path / "out", "--transliterate", "--held-out", 0)
    assert "1 languages in Latin script: eng_Latn" in printed
    assert lines_of(tmp_path / "out" / "train" / "rus_Cyrl.txt") == ["rus_Cyrl:1\tМосква", "rus_Cyrl:2\tдругое"]
    assert lines_of(tmp_path / "out" / "train" / "rus_Latn.txt") == ["rus_Cyrl:1\tMoskva", "rus_Cyrl:2\tdrugoye"]
