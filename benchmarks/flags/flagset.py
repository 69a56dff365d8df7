"""The flags every measurement is made with, and who asks: four kinds in turn, and each fifth flag off."""

from typing import Any

KINDS = ("plain", "rollout", "constraints", "variant", "off")
COUNTRIES = ["AT", "BE", "CH", "DE", "ES", "FR", "GB", "IT", "NL", "PT"]
PEOPLE = 100


def codename(number: int) -> str:
    return f"BENCH_{KINDS[number % len(KINDS)].upper()}_{number:05}"


#: One of each kind.
PLAIN, ROLLOUT, CONSTRAINTS, VARIANT, OFF = map(codename, range(len(KINDS)))


def document(number: int) -> dict[str, Any]:
    """The flag as the product's services take it."""
    kind = KINDS[number % len(KINDS)]
    flag: dict[str, Any] = {
        "codename": codename(number),
        "label": f"Flag {number}",
        "description": f"What flag {number} switches, in about as many words as people write.",
        "is_active": kind != "off",
    }
    if kind == "rollout":
        flag["rollout_percent"] = 50
    elif kind == "constraints":
        flag["rules"] = [
            {
                "constraints": [
                    {"field": "country", "operator": "IN", "values": COUNTRIES},
                    {"field": "seats", "operator": "NUM_GTE", "value": "10"},
                ]
            }
        ]
    elif kind == "variant":
        names = {"large": 200, "medium": 300, "small": 500}
        variants = [{"name": name, "weight": weight, "payload": f"size-{name}"} for name, weight in names.items()]
        flag |= {"value_type": "string", "rules": [{"variants": variants}]}
    return flag


def context(person: int | str) -> dict[str, str]:
    """Who asks. All of them meet the constraints, so that no server leaves early."""
    return {"userId": f"person-{person}", "country": "IT", "seats": "20"}
