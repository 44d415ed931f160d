import pytest

from langsamp_plugin.lang_script import UNKNOWN_ID, LangScript, LanguageTable, ScriptTable, Tables, head_tags


@pytest.mark.parametrize(
    ("spelling", "tag"),
    [
        ("eng_Latn", "eng_Latn"), ("en_XX", "eng_Latn"), ("zh-Hant", "zho_Hani"), ("zh_CN", "zho_Hani"), ("sr@latin",
        "srp_Latn"),
        ("sr", "srp_Cyrl"), ("uz@Cyrl", "uzb_Cyrl"), ("ko_KR", "kor_Hang"), ("az_IR", "aze_Arab"), ("iw", "heb_Hebr"),
        ("lvs_Latn", "lvs_Latn"), ("und_Latn", "und_Latn"), ("und", "und_Zyyy"), ("ca@valencia", "cat_Latn"), ("bcc",
        "bcc_Arab"),
    ],
)  # fmt: skip
def test_spellings(spelling, tag):
    assert str(LangScript.from_spelling(spelling)) == tag


@pytest.mark.parametrize(
    "text", ["", "xx", "foo", "foo_Latn", "eng_Abcd", "eng-latin-x-", "aa_BB_cc", "../eng", "uz@foo", "eng_Latn\n"]
)
def test_unknown_spellings_are_errors(text):
    with pytest.raises(ValueError, match="names no known language|is not an ISO"):
        LangScript.from_spelling(text)


def test_parse_takes_the_canonical_spelling_only():
    assert LangScript.parse("kor_Hang") == ("kor", "Hang")
    for text in ("en_XX", "eng_latn", "eng-Latn", "ENG_Latn"):
        with pytest.raises(ValueError, match="eng_Latn"):
            LangScript.parse(text)


def test_published_inventory():
    languages, scripts = Tables.glot500()
    assert (len(languages), len(scripts)) == (610, 30)
    assert languages.id(languages[17]) == 17
    assert languages.id("und") == scripts.id("Zyyy") == UNKNOWN_ID
    assert languages.code(UNKNOWN_ID) == "und"


def test_published_inventory_is_the_reference(shared):
    for table, name in ((LanguageTable, "languages.txt"), (ScriptTable, "scripts.txt")):
        assert list(table.glot500()) == (shared / "reference" / name).read_text().split()


def test_every_tag_of_the_collection_parses(shared):
    for line in (shared / "data" / "lang_script.tsv").read_text().splitlines()[1:]:
        assert str(LangScript.parse(line.split("\t")[0])) == line.split("\t")[0]


def test_head_tags_are_the_collections(shared):
    for line in (shared / "data" / "lang_script.tsv").read_text().splitlines()[1:]:
        tag, *_, group = line.split("\t")
        assert (tag in head_tags()) == (group == "head"), tag


def test_missing_code_is_named():
    with pytest.raises(ValueError, match="'zza'.*--tables data"):
        LanguageTable(["eng", "deu"], "my/languages.tsv").id("zza")


def test_extension_appends_and_keeps_ids():
    table = LanguageTable(["zul", "eng"])
    longer = table.extended(["deu", "abk", "eng", "und"])
    assert list(longer) == ["zul", "eng", "abk", "deu"]
    assert table.extended(["eng"]) is table


def test_table_file_round_trip(tmp_path):
    Tables.glot500().save(tmp_path)
    assert Tables.load(tmp_path) == Tables.glot500()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["languages.tsv", "scripts.tsv"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("eng\nen\n", "line 2.*'en'"),
        ("eng\ndeu\neng\n", "line 3: eng occurs twice"),
        ("eng\nund\n", "no row"),
        ("eng\n\n", "line 2"),
    ],
)
def test_malformed_tables_are_errors(tmp_path, text, message):
    (tmp_path / "languages.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        LanguageTable.load(tmp_path / "languages.tsv")


def test_table_that_is_not_utf8(tmp_path):
    (tmp_path / "languages.tsv").write_bytes(b"eng\n\xff\xfe\n")
    with pytest.raises(ValueError, match="UTF-8"):
        LanguageTable.load(tmp_path / "languages.tsv")
