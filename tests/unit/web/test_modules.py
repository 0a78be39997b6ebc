"""The page's pure modules have tests of their own, which Node runs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.support.paths import WEB


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_modules_of_the_page_pass_their_own_tests():
    result = subprocess.run(["node", "--test"], cwd=WEB, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
