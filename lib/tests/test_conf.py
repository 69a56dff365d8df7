from django.test import override_settings

from lib.conf import conf


def test_a_setting_is_followed_while_a_test_changes_it(settings):
    settings.APP_URL = "https://a.example"
    assert conf.APP_URL == "https://a.example"

    with override_settings(APP_URL="https://b.example"):
        assert conf.APP_URL == "https://b.example"
    assert conf.APP_URL == "https://a.example"
