"""What the documents name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_CODE = re.compile(
    r"`((?:sacd_jax|input_pipeline|configs|launch)/[\w/.]+\.(?:py|sh))`((?:,? `\w+`)*)"
)
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_functions_and_links_of_a_document_are_there(document: Path) -> None:
    text = document.read_text()
    for file, names in _CODE.findall(text):
        path = ROOT / file
        assert path.is_file() or document.name == "adding_a_method.md", file
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"^(?:def|class) {name}\b", path.read_text(), re.M), (file, name)
    for target in _LINK.findall(text):
        assert (document.parent / target).exists(), target
