"""The text of every page, judged by html-validate."""

import html_validate
import pytest
from conftest import TEXTS

pytestmark = pytest.mark.xdist_group("html-validate")  # it is started once


@pytest.fixture(scope="session")
def faults(html, missing, tmp_path_factory):
    """What is wrong with the text of each page that was read."""
    if not html_validate.is_installed():
        missing("no html-validate here; make test-book installs it where npm is")
    return html_validate.faults(html, TEXTS, tmp_path_factory.mktemp("texts"))


@pytest.mark.parametrize("page", TEXTS)
def test_the_text_of_a_page_is_valid_html(faults, page):
    assert page in faults, f"html-validate has not read {page} to its end"
    assert faults[page] == []
