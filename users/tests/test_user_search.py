"""The index of users' names and addresses, however they were written."""

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from users.models import User, UserSearch
from users.tests.factories import UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def find(text, limit=10):
    return UserSearch.objects.find(text, limit)


def test_the_index_follows_every_way_of_writing():
    ada = UserFactory.create(first_name="Ada", last_name="Byron", email="ada@example.org")
    User.objects.bulk_create([User(email="grace@example.org", first_name="Grace", last_name="Hopper")])

    User.objects.filter(pk=ada.pk).update(last_name="Lovelace")

    assert find("lovelace") == [ada.pk]
    assert find("byron") == []
    assert len(find("hopper")) == 1
    User.objects.get(email="grace@example.org").delete()
    assert find("hopper") == []


def test_it_finds_the_newest_and_no_more_than_asked_for():
    users = [UserFactory.create(last_name="Okafor") for _ in range(3)]

    assert find("okafor", limit=2) == [users[2].pk, users[1].pk]


@pytest.mark.django_db(transaction=True)
def test_who_was_there_before_is_found_too():
    people = MigrationExecutor(connection).migrate([("users", "0008_one_spelling_of_addresses")]).apps
    user = people.get_model("users", "User").objects.create(
        email="bjorn@example.org", first_name="Bjørn", last_name="Müller"
    )

    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())

    assert find("bjorn muller") == [user.pk]


@pytest.mark.parametrize("text", ["body1234", "bo", "body1234 us"])
@pytest.mark.skipif("connection.vendor != 'postgresql'")
def test_an_index_answers_in_postgresql(text):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
    with connection.execute_wrapper(explained := Explain()):
        find(text)

    assert "user_search_text" in explained.plan


class Explain:
    """Keeps the plan of the last statement."""

    plan = ""

    def __call__(self, execute, sql, params, many, context):
        with context["connection"].connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}", params)
            self.plan = str(cursor.fetchall())
        return execute(sql, params, many, context)
