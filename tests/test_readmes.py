"""The README files of all floors, and the glossary, lead to files that exist and have what is looked for there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from minivae.kernels.cuda import gemm
from minivae.learn import lesson

pytestmark = pytest.mark.cpu_only("text is the same on every device")
ROOT = Path(__file__).parent.parent
GLOSSARY = ROOT / "minivae/learn/GLOSSARY.md"
SKIPPED = {".git", ".venv", "venv", "build", "node_modules"}
PAGES = sorted(p for p in ROOT.rglob("*.md") if not SKIPPED & set(p.relative_to(ROOT).parts))
PLACES = [str(page.relative_to(ROOT)) for page in PAGES]
LINK = re.compile(r"\[(?P<words>[^\]]*)\]\((?P<to>[^)\s]+)\)")


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in found}


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere. Links to the web are not followed."""
    lost = []
    for _, link in LINK.findall(page.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        to = page.parent / file if file else page
        if re.match(r"\w+:", link):
            continue
        if not to.exists() or (anchor and anchor not in headings(to)):
            lost.append(link)
    return lost


@pytest.mark.parametrize("place", PLACES)
def test_every_link_leads_to_a_file(place):
    assert broken(ROOT / place) == []


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "README.md"
    page.write_text("# A b\n[a](b.md) [c](README.md) [d](#a-b) [e](#e) ![f](f.png) [g](https://example.org/h)")
    assert broken(page) == ["b.md", "#e", "f.png"]


@pytest.mark.parametrize("folder", ["kernels/reference", "kernels/cuda", "minivae/models"])
def test_the_reading_path_of_a_floor_leads_to_every_file(folder):
    """A file of CUDA C++ stands for the Python file of the same name, as both are read together."""
    page = ROOT / folder / "README.md"
    linked = {Path(to).stem for _, to in LINK.findall(page.read_text(encoding="utf-8"))}
    helpers = {"kernels/cuda": {"arrays", "device", "installation", "settings"}}.get(folder, set())
    there = {p.stem for p in page.parent.glob("*.*") if p.suffix in (".py", ".cu", ".cuh")} - {"__init__"}
    assert there - linked == helpers


def test_every_lesson_is_in_its_table():
    linked = {to for _, to in LINK.findall((ROOT / "minivae/learn/README.md").read_text(encoding="utf-8"))}
    for one in lesson.lessons():
        assert f"lessons/{one.path.name}" in linked


def test_the_numbers_of_split_k():
    text = (ROOT / "kernels/cuda/README.md").read_text(encoding="utf-8")
    assert "ten *splits*, nine of 80 products and one of 64" in text
    assert gemm._k_per_split(2, 784) == 80
    assert 9 * 80 + 64 == 784


# ---- the glossary ----

ENTRIES = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("* ")]


def terms(entry: str) -> list[str]:
    return re.findall(r"\*\*(.+?)\*\*", entry.partition(": ")[0])


def spaced(text: str) -> str:
    """Lower case, without the signs of comments and the ends of lines, as a term may be broken between two lines."""
    return re.sub(r"[\s#*/]+", " ", text).lower()


def occurs(term: str, text: str) -> bool:
    """Whether a term, or its plural, stands in a text as a word of its own."""
    return re.search(rf"(?<![a-z]){re.escape(spaced(term))}s?(?![a-z])", spaced(text)) is not None


def test_a_term_is_a_word_of_its_own():
    for text in ("# a split of K:\n# it is split-K", "Split-K", "with split-Ks"):
        assert occurs("split-K", text)
    for text in ("a split of K", "unsplit-k", "split-kernel"):
        assert not occurs("split-K", text)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: terms(entry)[0])
def test_a_term_occurs_where_the_glossary_sends_its_reader(entry):
    links = LINK.findall(entry)
    assert len(links) == 1
    text = (GLOSSARY.parent / links[0][1]).read_text(encoding="utf-8")
    for term in terms(entry):
        assert occurs(term, text), f"{term!r} is not in {links[0][1]}"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: terms(entry)[0])
def test_an_entry_has_two_sentences(entry):
    text = LINK.sub("", entry.partition(": ")[2]).strip()
    assert len(re.findall(r"\.\)? (?=[A-Z(`0-9])|\.\)?$", text)) == 2, text


def test_the_terms_are_those_once():
    named = [term for entry in ENTRIES for term in terms(entry)]
    assert len(named) == len(set(named)) > 50


# ---- the questions ----

ROWS = re.findall(r"^\| ([A-Z][^|]*\?) \| (.*) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_there_are_twenty_questions():
    assert len(ROWS) == 20


@pytest.mark.parametrize(("question", "where"), ROWS, ids=lambda text: text[:30])
def test_a_question_has_at_most_two_places_and_what_is_quoted_is_there(question, where):
    links = [to.partition("#")[0] for _, to in LINK.findall(where)]
    assert 1 <= len(links) <= 2
    text = spaced(" ".join((ROOT / to).read_text(encoding="utf-8") for to in links))
    for quoted in re.findall(r'"([^"]+)"', where):
        assert spaced(quoted) in text
