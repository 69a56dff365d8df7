"""Pages as a browser without script sees them: what stands in the fields of a form, ready to be sent."""

from html.parser import HTMLParser

FLAGS = "/admin/feature_flags/featureflag/"
SEGMENTS = "/admin/feature_flags/segment/"
CSRF = "csrfmiddlewaretoken"
TOKENS = "/admin/feature_flags/flagtoken/"
REVISIONS = "/admin/feature_flags/flagrevision/"


def page(flag, end="change"):
    return f"{FLAGS}{flag.pk}/{end}/"


def told(response):
    return [str(message) for message in response.context["messages"]]


def filled(response, form="featureflag_form"):
    """`{name: value}` of a form, in a list where a name stands there more than once."""
    parser = _Fields(form)
    parser.feed(response.content.decode())
    assert parser.found, f"no form {form}"
    return {name: values[0] if len(values) == 1 else values for name, values in parser.fields.items() if name != CSRF}


class _Fields(HTMLParser):
    def __init__(self, form):
        super().__init__()
        self.form, self.found, self.inside = form, False, False
        self.fields = {}
        self.select = self.area = None

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "form":
            self.inside = given.get("id") == self.form
            self.found |= self.inside
        if not self.inside:
            return
        if tag == "input" and given.get("type") not in ("submit", "checkbox") or "checked" in given:
            self._add(given.get("name"), given.get("value", "on" if "checked" in given else ""))
        elif tag == "select":
            self.select = given["name"]
        elif tag == "option" and "selected" in given and self.select:
            self._add(self.select, given["value"])
        elif tag == "textarea":
            self.area, self.text = given["name"], ""

    def handle_data(self, data):
        if self.area:
            self.text += data

    def handle_endtag(self, tag):
        if tag == "textarea" and self.area:
            # The line break after the tag is not content; a browser sends two characters for each of the others.
            self._add(self.area, self.text.removeprefix("\n").replace("\n", "\r\n"))
            self.area = None
        elif tag == "select":
            self.select = None
        elif tag == "form":
            self.inside = False

    def _add(self, name, value):
        if name:
            self.fields.setdefault(name, []).append(value)
