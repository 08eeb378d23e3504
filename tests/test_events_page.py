"""The page of results on event cameras is what its reports say."""

from pathlib import Path

import pytest
from benchmarks import events

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not events.KEPT.is_dir(), reason="this copy has no reports, as source distributions")


def test_the_page_is_made_from_the_kept_reports():
    assert (ROOT / "docs/results-events.md").read_text() == events.page()


def test_every_network_of_the_table_was_attacked_by_flips_and_by_retiming():
    head, *rows = events.budgets("nmnist")
    assert head[-2:] == ["retiming by 1 bin", "retiming by 2 bins"]
    for name in events.NETWORKS.values():
        (row,) = (row for row in rows if row[0] == name)
        assert "-" not in row
