import pytest

from langsamp_plugin.corpus.django_catalogues import clean, held_out, locale_folders


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("Hello %(name)s, you have %d mails", "Hello , you have mails"),
        ('Please <a href="%(url)s">log in</a> again.', "Please log in again."),
        ("100%% of {count} in {% block x %}it{% endblock %}", "100 of in it"),
        ("“%(value)s” &amp; more\n next  line", "“ ” & more next line"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)
def test_messages_are_cleaned(message, text):
    assert clean(message) == text


def test_demo_corpus(demo):
    tags = locale_folders()
    assert len(tags) > 80 and len({tag.script for tag in tags}) >= 20
    assert tags[("por", "Latn")] == ["pt", "pt_BR"] and len(tags[("zho", "Hani")]) == 2
    train, valid, aligned = (demo / "corpus" / part for part in ("train", "valid", "aligned"))
    assert {path.name for path in train.iterdir()} == {path.name for path in aligned.iterdir()}
    for path in train.iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) == len(set(lines)) > 100
        assert not set(lines) & set((valid / path.name).read_text(encoding="utf-8").splitlines()), (
            "held-out text is trained on"
        )
        assert not [line for line in lines if "%(" in line or "</" in line]
    english = dict(line.split("\t") for line in (aligned / "eng_Latn.txt").read_text(encoding="utf-8").splitlines())
    german = dict(line.split("\t") for line in (aligned / "deu_Latn.txt").read_text(encoding="utf-8").splitlines())
    assert len(english) > 60 and set(german) <= set(english) and all(len(text.split()) > 1 for text in english.values())
    assert sum(held_out(str(number)) for number in range(10_000)) == pytest.approx(2000, abs=160)
