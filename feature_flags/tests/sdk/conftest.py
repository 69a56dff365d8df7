import pytest

from feature_flags.tests.sdk.shop import open_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with open_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture
def switched_off(shop):
    shop.switch(False)
    return shop
