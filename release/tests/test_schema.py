"""What no migration may do to the release before."""

import pytest
from django.db import migrations, models
from django.db.migrations.state import ModelState, ProjectState
from django.db.models.functions import Length, Now, Random

from lib.migrations import AddIndexConcurrently
from release import history, schema

made_of_name = models.GeneratedField(expression=Length("name"), output_field=models.IntegerField(), db_persist=True)
by_name = models.Index(fields=["name"], name="by_name")


def project():
    state = ProjectState()
    state.add_model(
        ModelState(
            "shop",
            "Order",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=100)),
                ("note", models.TextField(null=True)),
                ("kind", models.CharField(max_length=10, db_default="")),
            ],
        )
    )
    return state


def faults(*operations, **attributes):
    migration = type("Migration", (migrations.Migration,), attributes)("0002_made_up", "shop")
    migration.operations = operations
    return schema.faults_of(migration, project(), project())


def in_models(*operations):
    return migrations.SeparateDatabaseAndState(state_operations=operations)


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("order", "size", models.IntegerField(default=1)),
        migrations.AddField("order", "size", models.IntegerField(db_default=1, db_index=True)),
        migrations.AddField("order", "by", models.ForeignKey("shop.order", models.CASCADE, null=True)),
        migrations.AddField("order", "luck", models.FloatField(db_default=Random())),
        migrations.AddField("order", "size", made_of_name),
        migrations.AddIndex("order", by_name),
        AddIndexConcurrently("order", by_name),
        migrations.AddConstraint("order", models.UniqueConstraint(fields=["name"], name="one_name")),
        migrations.AlterField("order", "name", models.CharField(max_length=50)),
        migrations.AlterField("order", "name", models.IntegerField()),
        migrations.AlterField("order", "name", models.CharField(max_length=100, unique=True)),
        migrations.AlterField("order", "note", models.TextField(default="")),
        migrations.AlterUniqueTogether("order", {("name", "note")}),
        migrations.RemoveField("order", "note"),
        migrations.RenameField("order", "note", "remark"),
        migrations.RenameModel("Order", "Purchase"),
        migrations.DeleteModel("Order"),
        in_models(migrations.RemoveField("order", "name")),
        migrations.RunSQL("ALTER TABLE shop_order DROP COLUMN note"),
        migrations.RunSQL(["SELECT 1", ("ALTER TABLE shop_order ADD COLUMN size integer NOT NULL", None)]),
        migrations.RunSQL("CREATE INDEX by_name ON shop_order (name)"),
    ],
    ids=lambda each: schema._name(each),
)
def test_what_the_release_before_cannot_stand_is_named(operation):
    assert [fault.reason for fault in faults(operation)] != []


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("order", "size", models.IntegerField(db_default=1)),
        migrations.AddField("order", "size", models.IntegerField(null=True)),
        migrations.AddField("order", "at", models.DateTimeField(db_default=Now())),
        migrations.AlterField("order", "name", models.CharField(max_length=200, help_text="new")),
        migrations.AlterField("order", "name", models.CharField(max_length=100, null=True)),
        migrations.CreateModel("Basket", [("id", models.BigAutoField(primary_key=True))]),
        migrations.AlterModelOptions("order", {"ordering": ["name"]}),
        migrations.RunPython(migrations.RunPython.noop),
        migrations.RunSQL("ALTER TABLE shop_order ADD COLUMN size integer DEFAULT 1 NOT NULL"),
        migrations.RunSQL("CREATE INDEX CONCURRENTLY by_name ON shop_order (name)"),
        migrations.RunSQL("CREATE INDEX by_name ON shop_basket (name)"),
        migrations.RunSQL("ALTER TABLE shop_order DROP COLUMN left_the_models_a_release_ago"),
        in_models(migrations.RemoveField("order", "kind")),
    ],
    ids=lambda each: schema._name(each),
)
def test_what_it_can_stand_is_not(operation):
    assert faults(operation) == []


def test_a_table_that_the_release_before_does_not_know_may_be_changed():
    basket = migrations.CreateModel("Basket", [("id", models.BigAutoField(primary_key=True))])
    size = migrations.AddField("basket", "size", models.IntegerField(default=1))

    assert faults(basket, size, migrations.DeleteModel("Basket")) == []


def test_an_index_is_made_concurrently_in_a_migration_of_its_own():
    assert faults(AddIndexConcurrently("order", by_name), atomic=False) == []


def test_rows_are_not_moved_under_the_lock_of_a_table():
    add = migrations.AddField("order", "size", models.IntegerField(null=True))

    assert [fault.operation for fault in faults(add, migrations.RunPython(migrations.RunPython.noop))] == ["RunPython"]


def test_a_reason_excuses_one_operation_and_is_not_kept_for_nothing():
    excused = {"AddIndex order.by_name": "a table of ten rows"}

    assert faults(migrations.AddIndex("order", by_name), excused=excused) == []
    assert [fault.operation for fault in faults(excused=excused)] == ["AddIndex order.by_name"]


@pytest.mark.skipif(not history.is_cloned_whole(), reason="a shallow clone or an export lacks the release before")
def test_the_last_release_can_stand_beside_every_migration_since():
    found = schema.faults(history.migrations(history.last()))

    assert "\n".join(map(str, found)) == "", "see docs/upgrading.md"
