import pytest

from release import history

pytestmark = pytest.mark.skipif(not history.is_cloned_whole(), reason="a shallow clone or an export lacks the history")


def test_releases_are_commits_of_this_history_in_the_order_of_their_versions():
    releases = history.releases()

    assert [each.version for each in releases] == [each.version for each in sorted(releases, key=lambda r: r.number)]
    for each in releases:
        history.git("merge-base", "--is-ancestor", each.commit, "HEAD")


def test_a_release_comes_with_its_migrations_and_files(tmp_path):
    first = history.releases()[0]

    assert ("users", "0001_initial") in history.migrations(first)
    assert (history.unpack(first, tmp_path / "first") / "users/migrations/0001_initial.py").exists()
