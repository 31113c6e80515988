"""Nothing in the project tells of the machine it was written on, or from where its packages came."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each has a letter in brackets, so that this file does not find itself.
MACHINE = re.compile(
    r"(?<![\w.-])/(w[o]rk|f[a]rm)/|/o[p]t/(peers|wheels|pypi)|/r[o]ot/|/t[m]p/[a-z]|\.\./s[h]ared\b"
    r"|b[e]fore-stop|s[u]bagent|\b(d[e]cisions|p[e]rformance|e[c]osystem)\.md\b"
)
HOSTS = re.compile(r"p[y]pi\.org|p[y]thonhosted\.org|(deb|security)\.d[e]bian\.org|registry\.n[p]mjs", re.IGNORECASE)
FOREIGN = ("static/vendor/", "tests/browser/vendor/", "LICENSE")


def files() -> list[Path]:
    """Every file of the project that git knows or would take up."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def hits(pattern: re.Pattern[str], text: str) -> list[str]:
    return [match.group() for match in pattern.finditer(text)]


@pytest.mark.parametrize(
    ("pattern", "text", "gap", "found"),
    [
        (MACHINE, "see /w{}rk/main", "o", True),
        (MACHINE, "cache in /t{}p/abc", "m", True),
        (MACHINE, "docs/w{}rk/flow", "o", False),
        (HOSTS, "--index-url https://p{}pi.org/simple", "y", True),
        (HOSTS, "deb http://deb.d{}bian.org/debian sid main", "e", True),
        (HOSTS, "https://example.org/{}", "", False),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[str], text: str, gap: str, found: bool) -> None:
    assert bool(hits(pattern, text.format(gap))) is found


def test_no_file_names_a_path_of_one_machine_or_a_registry_host() -> None:
    found = []
    for path in files():
        relative = path.relative_to(ROOT).as_posix()
        if relative.startswith(FOREIGN) or path.stat().st_size > 5_000_000:
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{relative}: {hit}" for hit in hits(MACHINE, text) + hits(HOSTS, text)]
    assert not found
