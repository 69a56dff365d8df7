"""A flag becomes one document: what stood in rules, variants, targets and prerequisites moves into `definition`."""

from django.db import migrations, models

import feature_flags.models

OWN = ("off_value", "rollout_percent", "stickiness", "group_id", "impression_data")
RULE = ("label", "is_enabled", "rollout_percent", "stickiness", "group_id", "constraints")
VARIANT = ("name", "weight", "payload", "written_as")
BATCH = 500


def batches(model):
    last = 0
    while rows := list(model.objects.filter(pk__gt=last).order_by("pk")[:BATCH]):
        yield rows
        last = rows[-1].pk


def into_documents(apps, schema_editor):
    flag_model, rule_model, variant_model, prerequisite_model, target_model = (
        apps.get_model("feature_flags", name)
        for name in ("FeatureFlag", "FlagRule", "FlagVariant", "FlagPrerequisite", "FlagTarget")
    )
    for flags in batches(flag_model):
        definitions = {flag.pk: {name: getattr(flag, name) for name in OWN} for flag in flags}
        for definition in definitions.values():
            definition |= {"tags": [], "rules": [], "variants": [], "prerequisites": []}
            definition["targets"] = {"on": [], "off": []}
        for flag_id, name in flag_model.tags.through.objects.filter(featureflag__in=flags).values_list(
            "featureflag_id", "tag__name"
        ):
            definitions[flag_id]["tags"].append(name)
        rules, segments, parents = {}, set(), []
        for row in rule_model.objects.filter(flag__in=flags).order_by("flag_id", "position"):
            rules[row.pk] = rule = {**{name: getattr(row, name) for name in RULE}, "segments": [], "variants": []}
            definitions[row.flag_id]["rules"].append(rule)
        for flag_id, rule_id, segment_id, name in rule_model.segments.through.objects.filter(
            flagrule__flag__in=flags
        ).values_list("flagrule__flag_id", "flagrule_id", "segment_id", "segment__name"):
            rules[rule_id]["segments"].append(name)
            segments.add((flag_id, segment_id))
        for row in variant_model.objects.filter(flag__in=flags).order_by("flag_id", "position", "pk"):
            owner = definitions[row.flag_id] if row.rule_id is None else rules[row.rule_id]
            owner["variants"].append({name: getattr(row, name) for name in VARIANT})
        for row in prerequisite_model.objects.filter(flag__in=flags).select_related("parent"):
            named = {"parent": row.parent.codename, "required": row.required, "variants": row.variants}
            definitions[row.flag_id]["prerequisites"].append(named)
            parents.append((row.flag_id, row.parent_id))
        for row in target_model.objects.filter(flag__in=flags):
            definitions[row.flag_id]["targets"]["on" if row.always else "off"].append(row.identifier)
        for flag in flags:
            flag.definition = _sorted(definitions[flag.pk], flag.value_type)
        flag_model.objects.bulk_update(flags, ["definition"], batch_size=100)
        link = flag_model.segments.through
        link.objects.bulk_create(link(featureflag_id=flag, segment_id=segment) for flag, segment in sorted(segments))
        link = flag_model.parents.through
        link.objects.bulk_create(link(from_featureflag_id=flag, to_featureflag_id=parent) for flag, parent in parents)


def _sorted(definition, value_type):
    """By code point, as documents are: databases disagree about the order of letters. Floats as floats."""
    definition["tags"].sort()
    definition["prerequisites"].sort(key=lambda prerequisite: prerequisite["parent"])
    for identifiers in definition["targets"].values():
        identifiers.sort()
    for rule in definition["rules"]:
        rule["segments"].sort()
    if value_type == "float":
        # jsonb hands 1e22 back as a whole number.
        definition["off_value"] = _as_float(definition["off_value"])
        for part in (definition, *definition["rules"]):
            for variant in part["variants"]:
                variant["payload"] = _as_float(variant["payload"])
    return definition


def _as_float(value):
    return float(value) if type(value) is int else value


def into_rows(apps, schema_editor):
    flag_model, rule_model, variant_model, prerequisite_model, target_model, segment_model = (
        apps.get_model("feature_flags", name)
        for name in ("FeatureFlag", "FlagRule", "FlagVariant", "FlagPrerequisite", "FlagTarget", "Segment")
    )
    segments = dict(segment_model.objects.values_list("name", "pk"))
    parents = dict(flag_model.objects.values_list("codename", "pk"))
    for flags in batches(flag_model):
        rules, variants, targets, prerequisites, uses = [], [], [], [], []
        for flag in flags:
            definition = flag.definition
            for name in OWN:
                setattr(flag, name, definition[name])
            variants += _variants(variant_model, flag, None, definition["variants"])
            for position, given in enumerate(definition["rules"]):
                rule = rule_model(flag=flag, position=position, **{name: given[name] for name in RULE})
                rules.append(rule)
                variants += _variants(variant_model, flag, rule, given["variants"])
                uses += [(rule, segments[name]) for name in given["segments"] if name in segments]
            for state, identifiers in definition["targets"].items():
                targets += [target_model(flag=flag, identifier=one, always=state == "on") for one in identifiers]
            for given in definition["prerequisites"]:
                if given["parent"] in parents:
                    own = {"required": given["required"], "variants": given["variants"]}
                    prerequisites.append(prerequisite_model(flag=flag, parent_id=parents[given["parent"]], **own))
        flag_model.objects.bulk_update(flags, OWN, batch_size=50)
        rule_model.objects.bulk_create(rules)
        link = rule_model.segments.through
        link.objects.bulk_create(link(flagrule_id=rule.pk, segment_id=segment) for rule, segment in uses)
        variant_model.objects.bulk_create(variants)
        target_model.objects.bulk_create(targets)
        prerequisite_model.objects.bulk_create(prerequisites)


def _variants(model, flag, rule, variants):
    return [
        model(flag=flag, rule=rule, position=position, **{name: variant[name] for name in VARIANT})
        for position, variant in enumerate(variants)
    ]


class Migration(migrations.Migration):
    dependencies = [("feature_flags", "0005_one_spelling_of_domains")]

    operations = [
        migrations.AddField(
            model_name="featureflag",
            name="definition",
            field=feature_flags.models.DocumentField(default=dict, editable=False, verbose_name="definition"),
        ),
        migrations.AlterField(
            model_name="featureflag",
            name="tags",
            field=models.ManyToManyField(
                blank=True, editable=False, related_name="flags", to="feature_flags.tag", verbose_name="tags"
            ),
        ),
        migrations.AddField(
            model_name="featureflag",
            name="segments",
            field=models.ManyToManyField(editable=False, related_name="flags", to="feature_flags.segment"),
        ),
        migrations.AddField(
            model_name="featureflag",
            name="parents",
            field=models.ManyToManyField(editable=False, related_name="children", to="feature_flags.featureflag"),
        ),
        migrations.RunPython(into_documents, into_rows),
    ]
