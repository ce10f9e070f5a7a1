"""Documents use plain words: short sentences, and the glossary's terms instead of those that it replaced."""

import re
from pathlib import Path

import pytest

from .documents import ROOT, Document, documents
from .words import RETIRED

LONGEST = 30  # words in a sentence
WRITTEN = re.compile(r"<!-- (.+): begin -->.*?<!-- \1: end -->", re.DOTALL)
"""What a script writes between markers, and its tests look after."""

PROSE = {document.name: document for document in documents() if document.name != "CHANGELOG.md"}
HELP = "docs/reference.md"  # whose words are those of the help, for its tests to look after


def passages(document: Document) -> list[tuple[int, str, bool]]:
    """Paragraphs, items, headings and cells: line, words, and whether they are in a table.

    Code counts as one word; pictures and what a script writes are left out.
    """
    text = WRITTEN.sub(lambda part: "\n" * part[0].count("\n"), document.text)
    found, table = [], False
    for token in Document(document.path, text, document.root).tokens:
        table = token.type == "table_open" or (table and token.type != "table_close")
        if token.type == "inline":
            parts = [
                {"code_inline": "CODE", "softbreak": " ", "hardbreak": " "}.get(child.type, child.content)
                for child in token.children or ()
                if child.type != "image"
            ]
            found.append((token.map[0] + 1 if token.map else 0, "".join(parts), table))
    return found


def sentences(text: str) -> list[str]:
    """Parts of a passage that end with a full stop, a question mark or an exclamation mark."""
    plain = re.sub(r"\bet al\.|\be\.g\.|\bi\.e\.|\bvs\.", lambda match: match[0].replace(".", ""), text)
    return re.split(r"(?<=[.!?])[\")*]*\s+", plain)


def problems(document: Document) -> list[str]:
    found = []
    for line, text, table in passages(document):
        for sentence in [] if table else sentences(text):
            count = len(re.findall(r"\S*\w\S*", sentence))
            if count > LONGEST:
                found.append(f"{document.name}:{line}: {count} words: {sentence}")
        retired = [] if document.name == HELP else RETIRED.finditer(text)
        found += [f"{document.name}:{line}: {match[0]}: {text}" for match in retired]
    return found


def test_documents_of_every_folder_are_looked_at():
    assert {"README.md", "CONTRIBUTING.md", "docs/cli.md", "docs/api/index.md", "examples/ci/README.md"} <= set(PROSE)


@pytest.mark.parametrize("name", PROSE)
def test_sentences_are_short_and_words_are_the_glossarys(name):
    assert problems(PROSE[name]) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("word " * 31 + ".", "31 words"),
        ("One. " + "word " * 31, "31 words"),
        ("- item\n- " + "word " * 31, "31 words"),
        ("# " + "word " * 31, "31 words"),
        ("word " * 20 + "et al. " + "word " * 9, "31 words"),
        ("An image that fools.", "fools"),
        ("**Fell**", "Fell"),
        ("[what stands](x.md)", "stands"),
        ("| fooled |\n|---|", "fooled"),
    ],
)
def test_a_long_sentence_or_a_retired_word_is_found(text, found):
    (problem,) = problems(Document(Path(ROOT / "x.md"), text))
    assert found in problem


def test_code_tables_and_generated_parts_are_left_out():
    text = (
        "`" + "word " * 31 + "`\n\n```\nfooled\n```\n\n| `fooled` |\n|---|\n| " + "word " * 31 + "|\n\n"
        "<!-- x: begin -->\nfell\n<!-- x: end -->\n\n" + "word " * 30 + ". word " + "word " * 29
    )
    assert problems(Document(Path(ROOT / "x.md"), text)) == []
