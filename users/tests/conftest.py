from functools import partial

import pytest
import segno

from users.api import auth


@pytest.fixture(autouse=True)
def no_floor_under_answers(monkeypatch):
    """What the floor hides is for a clock to show; here it would only be waited for."""
    monkeypatch.setattr(auth, "MAIL_SECONDS", 0)


@pytest.fixture(autouse=True)
def first_mask_of_codes(monkeypatch):
    """Trying which of the eight masks of a QR code looks best takes longer than most tests."""
    monkeypatch.setattr(segno, "make", partial(segno.make, mask=0))
