"""What `langsamp doctor` says of machines that this one is not."""

import importlib.util
import sys
import types

import pytest
from support import run

from langsamp_plugin import cli, doctor


def lines(findings):
    return [str(finding) for finding in findings]


def test_here():
    output = run("langsamp", "doctor")
    assert "ok       torch " in output and "ok       plugin at " in output and "missing" not in output
    assert "ok       extra eval: scikit-learn " in output


def test_without_torch_and_fairseq(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "fairseq", None)
    found = {finding.text.split(":")[0].split(" (")[0]: finding for finding in doctor.examine()}
    assert found["torch"].state == found["fairseq"].state == "missing"
    assert "pytorch.org" in found["torch"].remedy and "ve-fairseq" in found["fairseq"].remedy


@pytest.mark.parametrize("folder", ["optimizers", "forms"])
def test_the_right_and_the_wrong_apex(monkeypatch, tmp_path, folder):
    (tmp_path / "apex" / folder).mkdir(parents=True)
    (tmp_path / "apex" / "__init__.py").write_text("raise SystemExit('it was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    found = doctor._apex()
    if folder == "optimizers":
        assert found.state == "ok" and "without its CUDA kernels" in found.text
    else:
        assert found.state == "note" and "not NVIDIA's" in found.text and "pip uninstall apex" in found.remedy


def test_old_versions_and_missing_extras(monkeypatch):
    cuda = types.SimpleNamespace(is_available=lambda: False)
    old = types.SimpleNamespace(__version__="2.4.1+cu121", cuda=cuda, version=types.SimpleNamespace(cuda="12.1"))
    first, second = doctor._torch(old)
    assert first.state == "missing" and "2.6 is needed" in first.remedy
    assert "built for CUDA 12.1, but finds none" in second.text and "nvidia-smi" in second.remedy
    monkeypatch.setattr(doctor.sys, "version_info", (3, 13, 0))
    assert doctor._python().state == "missing"
    there = importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "umap" else there(name))
    found = doctor._extra("analysis")
    assert "without umap" in found.text and found.remedy == "pip install 'langsamp-plugin[analysis]'"


def test_packages_that_are_too_old_are_named(monkeypatch):
    """In doctor, and with an error that nothing explains; the first version of seqeval lacked an argument."""
    assert not doctor.outdated()
    real = doctor.metadata.version
    monkeypatch.setattr(doctor.metadata, "version", lambda name: {"seqeval": "0.0.10"}.get(name) or real(name))
    (old,) = doctor.outdated()
    assert old == ("seqeval", "0.0.10", "1.2")
    found = doctor._extra("eval")
    assert found.state == "note" and found.remedy == "1.2 is needed: pip install -U 'seqeval>=1.2'"
    assert doctor._extra("hf").state == "ok"
    status, message = cli._explain(TypeError("f1_score() got an unexpected keyword argument"))
    assert status == 1 and message.endswith(
        "keyword argument; seqeval must be 1.2 or newer, but is 0.0.10: pip install -U 'seqeval>=1.2'"
    )
    assert "seqeval" not in cli._explain(ValueError("the limit is wrong"))[1]


@pytest.mark.parametrize(
    "version, release", [("1.10.0rc1", (1, 10, 0)), ("2.13.0+cpu", (2, 13, 0)), ("5", (5,)), ("main", ())]
)
def test_releases(version, release):
    assert doctor._release(version) == release
