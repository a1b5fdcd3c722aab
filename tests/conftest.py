"""Hypothesis runs the same cases everywhere, and slow machines do not fail a law; the tiny encoder is written once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "suite", max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny encoder of `tests.tiny` as a package; nobody changes it."""
    from tests import tiny  # torch only where it is asked for

    folder = tmp_path_factory.mktemp("site")
    tiny.write_package(folder)
    return folder
