"""Every name of the published collections: its tag, its refusal, or that its text decides."""

from pathlib import Path

import langcodes
import pytest
from langcodes.data_dicts import LIKELY_SUBTAGS, MACROLANGUAGES

from langsamp_plugin.lang_script import SCRIPT_ALIASES, LangScript, NoScriptError, ScriptTable, Tables
from langsamp_plugin.spelling import is_written_in, special_names, usual_script

NAMES = [
    line.split("\t")
    for line in (Path(__file__).parent.parent / "collection_names.tsv").read_text(encoding="utf-8").splitlines()
    if not line.startswith(("#", "name\t"))
]


def decide(name):
    try:
        return str(LangScript.from_spelling(name))
    except NoScriptError:
        return "?"
    except ValueError as error:
        assert repr(name) in str(error), "the message names what was refused"
        return "-"


def test_names_of_collections():
    assert len({name for name, *_ in NAMES}) == len(NAMES) >= 1000
    wrong = [(name, decided, decide(name)) for name, decided, *_ in NAMES if decide(name) != decided]
    assert wrong == []
    counts = {
        "CC-100": 116,
        "mC4": 108,
        "MADLAD-400": 419,
        "FLORES-200, NLLB": 204,
        "Wikipedia": 310,
        "XLM-R": 100,
        "mBART-50": 52,
    }
    for collection, least in counts.items():
        assert sum(collection in row[2].split(";") for row in NAMES) >= least, collection


def langcodes_alone(name):
    """What a name is without this package's tables: langcodes' code, and the script that it or CLDR has."""
    base, *rest = name.replace("_", "-").split("-")
    language = langcodes.Language.get("-".join([base, *rest]))
    likely = LIKELY_SUBTAGS.get(f"{language.language}-{language.territory}") or LIKELY_SUBTAGS.get(language.language)
    script = language.script or (likely or "-?").split("-")[1]
    code = base if len(base) == 3 and rest else language.to_alpha3()
    return f"{code}_{SCRIPT_ALIASES.get(script, script)}"


def test_what_is_not_obvious_has_a_reason():
    """Each row that langcodes alone would decide otherwise, or that is of a macrolanguage, says why it is as it is."""
    macrolanguages, silent = set(MACROLANGUAGES.values()), []
    for name, decided, _, reason in NAMES:
        try:
            usual = langcodes_alone(name)
        except (ValueError, LookupError):
            usual = ""
        if (usual != decided or name in macrolanguages) and not reason:
            silent.append((name, decided, usual))
    assert silent == []
    assert sum(bool(reason) for *_, reason in NAMES) > 300


def test_no_two_names_of_a_collection_share_a_tag_without_a_reason():
    """What `hi_rom` did to Hindi: two texts of different writing in one file."""
    for collection in ("CC-100", "mC4", "MADLAD-400", "XLM-R"):
        tags = {}
        for name, decided, collections, reason in NAMES:
            if collection in collections.split(";") and decided not in "-?":
                tags.setdefault(decided, []).append((name, reason))
        shared = {tag: names for tag, names in tags.items() if len(names) > 1}
        allowed = {"zho_Hani", "msa_Arab"}  # Hans and Hant share a row; Malay in Arabic letters, and that of Brunei
        assert shared.keys() <= allowed, collection


def test_the_text_decides_where_no_list_knows():
    with pytest.raises(NoScriptError, match="'azb' does not say which script.*write it out"):
        LangScript.from_spelling("azb")
    assert str(LangScript.from_spelling("azb", script="Arab")) == "azb_Arab"
    assert str(LangScript.from_spelling("hi", script="Latn")) == "hin_Deva", "what the name says comes first"
    # The control: a macrolanguage's script, which was taken before, is another one.
    assert usual_script("aze") == "Latn" and usual_script("azb") is None


@pytest.mark.parametrize("name", ["zho_Hans", "zh-Hans", "zh_CN", "zho-Hant", "zh-TW"])
def test_one_rule_for_both_spellings(name):
    tag = LangScript.from_spelling(name)
    assert str(tag) == "zho_Hani"
    assert Tables.glot500().ids(tag) == Tables.glot500().ids(LangScript("zho", "Hani"))


def test_aliases_have_the_row_of_their_script():
    literal = LangScript.parse("zho_Hans")
    assert Tables.glot500().ids(literal) == Tables.glot500().ids(LangScript("zho", "Hani"))
    assert Tables.glot500().extended([literal, LangScript.parse("kor_Kore")]) == Tables.glot500()
    assert list(ScriptTable([]).extended(["Hans", "Hant"])) == ["Hani"]
    apart = ScriptTable(["Hans", "Hant"])
    assert (apart.id("Hans"), apart.id("Hant")) == (0, 1), "a table that tells them apart is believed"


@pytest.mark.parametrize("code", ["zxx", "mul", "mis", "bat", "roa", "fiu"])
def test_a_script_makes_no_language_of_a_group(code):
    for text in (f"{code}_Latn", f"{code}-Latn", code):
        with pytest.raises(ValueError, match=code):
            LangScript.from_spelling(text)
    with pytest.raises(ValueError, match=f"'{code}' in tag '{code}_Latn' is not an ISO 639-3 code of a language"):
        LangScript.parse(f"{code}_Latn")
    # What is ambiguous alone is a language with its script, and groups with a row of the published table have it.
    assert [str(LangScript.from_spelling(tag)) for tag in ("als_Latn", "bih_Deva")] == ["als_Latn", "bih_Deva"]


def test_scripts_that_a_language_is_written_in():
    known = "hin_Deva hin_Latn srp_Latn srp_Cyrl pan_Arab pan_Guru uzb_Arab kaz_Arab zho_Hani jpn_Jpan kor_Hang"
    assert [tag for tag in known.split() if not is_written_in(*tag.split("_"))] == []
    strange = "eng_Deva deu_Cyrl hin_Cyrl rus_Arab zho_Hang kor_Thai kbh_Deva"
    assert [tag for tag in strange.split() if is_written_in(*tag.split("_"))] == []


def test_decisions_have_reasons():
    for name, (tag, reason) in special_names().items():
        assert name == name.lower() and len(reason) > 10
        assert not tag or str(LangScript.parse(tag)) == tag
