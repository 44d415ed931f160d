"""Fixtures of several files here."""

import pytest
from small_pairs import binarize_into, write_pairs


@pytest.fixture
def pairs(tmp_path):
    return write_pairs(tmp_path / "pairs")


@pytest.fixture
def binarized(pairs, demo, tmp_path):
    return binarize_into(tmp_path / "data-bin", pairs, demo)
