"""A binarizer that is killed, alone or with its workers, and one whose disk is full."""

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from small_pieces import same_data
from started_commands import Started
from support import ROOT, run

from langsamp_plugin.data.binarizer import binarize
from langsamp_plugin.data.token_buffer import TokenBuffer
from langsamp_plugin.vocabulary.tokenizer import Tokenizer


def test_goes_on_after_the_last_finished_piece(demo, tmp_path, monkeypatch, small_pieces):
    corpus = tmp_path / "corpus"
    shutil.copytree(demo / "corpus" / "train", corpus)
    done = []
    real = Tokenizer.encode

    def encode(self, lines):
        if len(done) == stop:
            raise OSError(28, "No space left on device")
        done.append(list(lines))
        return real(self, lines)

    monkeypatch.setattr(Tokenizer, "encode", encode)

    def attempt():
        done.clear()
        binarize(corpus, demo / "spm.model", tmp_path / "data", valid=demo / "corpus" / "valid")

    stop = 30
    with pytest.raises(OSError, match=r"00\d+\.\w+\.(bin|sizes) could not be written, free some space"):
        attempt()
    assert not (tmp_path / "data" / "dict.txt").exists(), "an unfinished folder must not look finished"
    assert not list((tmp_path / "data").glob("*/train.bin")) and not list((tmp_path / "data").rglob("*.tmp"))
    first, stop = list(done), -1
    # A piece whose bytes did not reach the disk before the machine crashed is done again.
    cut = sorted((tmp_path / "data").glob("*/.pieces-*/*.train.bin"))[0]
    cut.write_bytes(cut.read_bytes()[:-2])
    attempt()
    assert len([part for part in done if part in first]) == 1
    same_data(demo / "data-bin", tmp_path / "data")
    # A changed file is done again, and nothing else.
    with open(corpus / "eng_Latn.txt", "a") as stream:
        stream.write("one more line\n")
    attempt()
    texts = (corpus / "eng_Latn.txt", demo / "corpus" / "valid" / "eng_Latn.txt")
    assert len(done) == sum(-(-path.stat().st_size // 3000) for path in texts)
    attempt()
    assert not done


def living(session):
    """Return the processes of a session that have not ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            state, _, _, its_session, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            found += [process] if int(its_session) == session and state != "Z" else []
    return found


def test_killed_with_its_workers(demo, tmp_path, monkeypatch):
    """SIGKILL in the middle: no process stays behind, no partial file counts as complete, the same command ends
    it."""
    (tmp_path / "corpus").mkdir()
    for tag in ("hin_Deva", "rus_Cyrl"):
        text = (demo / "corpus" / "train" / f"{tag}.txt").read_bytes()
        (tmp_path / "corpus" / f"{tag}.txt").write_bytes(text * 40)
    command = ["langsamp", "binarize", tmp_path / "corpus", "--spm", demo / "spm.model", "--workers", 2]
    command += ["--valid-lines", 0, "--out"]
    first = Started([*command, tmp_path / "data"], ROOT, tmp_path / "log.txt")
    while not list((tmp_path / "data").glob("*/.pieces*/*.tmp")):
        assert first.poll() is None
        time.sleep(0.01)
    while len(living(first.pid)) < 3:  # the other worker may still be starting
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    end = time.monotonic() + 10
    while living(first.pid):
        assert time.monotonic() < end, "workers outlive the command"
        time.sleep(0.1)
    run(*command, tmp_path / "data")
    run(*command, tmp_path / "whole")
    for path in (tmp_path / "whole").glob("*/*.bin"):
        assert path.read_bytes() == (tmp_path / "data" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_full_disk(demo, tmp_path):
    """A limit on the size of files stands for the full disk: the system refuses to write in the same way."""
    (tmp_path / "corpus").mkdir()
    text = (demo / "corpus" / "train" / "hin_Deva.txt").read_text(encoding="utf-8")
    (tmp_path / "corpus" / "hin_Deva.txt").write_text(text * 20, encoding="utf-8")
    shutil.copy(demo / "corpus" / "train" / "eng_Latn.txt", tmp_path / "corpus")
    limit = 100_000
    code = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    code += "from langsamp_plugin.cli import main\nmain()"
    words = ["binarize", tmp_path / "corpus", "--spm", demo / "spm.model", "--out", tmp_path / "data"]
    output = run("python", "-c", code, *words, expect=1)
    assert re.search(
        r"hin_Deva.*00000\.\w+\.(bin|sizes) could not be written, raise the limit .*: File too large$",
        output,
    )
    assert not [path for path in (tmp_path / "data" / "hin_Deva").rglob("*") if path.is_file()]
    assert not (tmp_path / "data" / "dict.txt").exists()
    # With space, the same command ends well.
    run("langsamp", "binarize", tmp_path / "corpus", "--spm", demo / "spm.model", "--out", tmp_path / "data")
    assert TokenBuffer(tmp_path / "data" / "hin_Deva" / "train").num_tokens > limit / 2


def test_a_killed_worker_is_named(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(Tokenizer, "encode", lambda self, lines: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ChildProcessError, match="fewer --workers"):
        binarize(demo / "corpus" / "train", demo / "spm.model", tmp_path / "data", workers=2)
    assert not (tmp_path / "data" / "dict.txt").exists()
