"""What a refusal means for an address: one table for the answers of mail servers and the reports of providers.

Two things count: the enhanced status code of the server (RFC 3463; the registry of RFC 5248 at IANA, "SMTP Enhanced
Status Codes"), never the text behind it; and, where there is none, the provider's own classification.
Only `dead` keeps all mail from an address, so whatever is in doubt is not `dead`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from notifications.models import Refusal

DEAD, FULL, CONTENT, SENDER = Refusal.DEAD, Refusal.FULL, Refusal.CONTENT, Refusal.SENDER
LISTED, OTHER = Refusal.LISTED, Refusal.OTHER
COMPLAINED, UNSUBSCRIBED = Refusal.COMPLAINED, Refusal.UNSUBSCRIBED

# --- The enhanced status code -----------------------------------------------------------------------------------------

# At the beginning, where RFC 2034 puts it: after the reply code, and after the type of a diagnostic (RFC 3464, 2.3.6).
_STATUS = re.compile(r"(?:smtp; ?)?(?:[45]\d\d[ -])?#?([45])\.(\d{1,3})\.(\d{1,3})(?![\d.])", re.ASCII | re.IGNORECASE)

# The details of RFC 3463 and its registry that are more exact than their subject.
_DETAILS: dict[tuple[int, int], Refusal | None] = {
    (1, 0): None,  # something about an address, not whose
    (1, 1): DEAD,  # no such mailbox
    (1, 2): DEAD,  # no such domain
    (1, 3): DEAD,  # no mailbox can have this address
    (1, 6): DEAD,  # moved, and not forwarded
    (1, 7): SENDER,  # the sender's address is malformed
    (1, 8): SENDER,  # the sender's domain
    (1, 10): DEAD,  # null MX (RFC 7505)
    (1, 20): SENDER,  # Exchange Online: several senders
    (1, 90): SENDER,  # Exchange Online: the sender's daily limit
    (2, 0): None,
    # Disabled; but Gmail answers 550 5.2.1 for a mailbox that gets too much mail just now, too.
    (2, 1): OTHER,
    (2, 2): FULL,
    (2, 3): CONTENT,  # too long for this mailbox
    (3, 1): FULL,  # the whole system is
    (3, 4): CONTENT,  # too big for the system
    (5, 0): None,
}
# 1 address, 2 mailbox, 3 mail system, 4 network, 5 protocol, 6 content, 7 security and policy; 0 means nothing.
_SUBJECTS = {1: OTHER, 2: OTHER, 3: OTHER, 4: OTHER, 5: SENDER, 6: CONTENT, 7: SENDER}


def by_status(text: str) -> Refusal | None:
    """The meaning of the enhanced status code at the beginning of a server's answer; None when there is none, or it is
    not specific. A temporary one is never `dead`."""
    if not (found := _STATUS.match(text)):
        return None
    subject, detail = int(found[2]), int(found[3])
    refusal = _DETAILS.get((subject, detail), _SUBJECTS.get(subject))
    return OTHER if refusal == DEAD and found[1] == "4" else refusal


# --- The provider's own classes ---------------------------------------------------------------------------------------


class Meaning(NamedTuple):
    """The kind of a report, and what the provider makes of the refusal."""

    kind: str
    refusal: Refusal | None = None


_QUEUED, _SENT, _DELIVERED, _DEFERRED = Meaning("queued"), Meaning("sent"), Meaning("delivered"), Meaning("deferred")
_COMPLAINED, _UNSUBSCRIBED = Meaning("complained", COMPLAINED), Meaning("unsubscribed", UNSUBSCRIBED)


def _bounced(refusal: Refusal) -> Meaning:
    """The recipient's server refused it."""
    return Meaning("bounced", refusal)


def _rejected(refusal: Refusal) -> Meaning:
    """The provider did not send it: no server was contacted."""
    return Meaning("rejected", refusal)


# In lower case, as `reports` builds the keys. What is not here is ignored: opened, clicked, received, a ping.
MEANINGS: dict[str, dict[str, Meaning]] = {
    # https://developers.mailersend.com/api/v1/account/webhooks.html
    "mailersend": {
        "sent": _SENT,
        "delivered": _DELIVERED,
        "deferred": _DEFERRED,
        "soft_bounced": _bounced(OTHER),
        "hard_bounced": _bounced(DEAD),
        "suppressed": _rejected(LISTED),
        "spam_complaint": _COMPLAINED,
        "unsubscribed": _UNSUBSCRIBED,
    },
    # https://postmarkapp.com/developer/api/bounce-api#bounce-types; the type of a bounce, else of the record
    "postmark": {
        "delivery": _DELIVERED,
        "hardbounce": _bounced(DEAD),
        "softbounce": _bounced(OTHER),
        "transient": _DEFERRED,
        "dnserror": _DEFERRED,
        "openrelaytest": _DEFERRED,
        "unknown": _bounced(OTHER),
        "spamnotification": _bounced(CONTENT),
        "virusnotification": _bounced(CONTENT),
        "blocked": _bounced(SENDER),
        "dmarcpolicy": _bounced(SENDER),
        "bademailaddress": _rejected(DEAD),
        "manuallydeactivated": _rejected(LISTED),
        "unconfirmed": _rejected(SENDER),
        "smtpapierror": Meaning("failed", SENDER),
        "templaterenderingfailed": Meaning("failed", SENDER),
        "spamcomplaint": _COMPLAINED,
        "unsubscribe": _UNSUBSCRIBED,
        "subscriptionchange hardbounce": _bounced(DEAD),
        "subscriptionchange spamcomplaint": _COMPLAINED,
        "subscriptionchange manualsuppression recipient": _UNSUBSCRIBED,
    },
    # https://documentation.mailgun.com/docs/mailgun/user-manual/events/events; `reason` (and `bounce-type`) or the code
    "mailgun": {
        "accepted": _QUEUED,
        "delivered": _DELIVERED,
        "rejected": _rejected(SENDER),
        "temporary": _DEFERRED,
        "permanent": _bounced(OTHER),
        "permanent bounce": _bounced(DEAD),
        "permanent bounce soft": _bounced(OTHER),
        "permanent suppress-bounce": _rejected(LISTED),
        "permanent suppress-complaint": _rejected(COMPLAINED),
        "permanent suppress-unsubscribe": _rejected(UNSUBSCRIBED),
        "permanent 605": _rejected(LISTED),
        "permanent 606": _rejected(UNSUBSCRIBED),
        "permanent 607": _rejected(COMPLAINED),
        "complained": _COMPLAINED,
        "unsubscribed": _UNSUBSCRIBED,
    },
    # https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types and #complaint-object
    "ses": {
        "send": _SENT,
        "delivery": _DELIVERED,
        "deliverydelay": _DEFERRED,
        "deliverydelay mailboxfull": Meaning("deferred", FULL),
        "bounce permanent": _bounced(OTHER),
        "bounce permanent general": _bounced(DEAD),
        "bounce permanent noemail": _bounced(DEAD),
        "bounce permanent suppressed": _rejected(DEAD),
        "bounce permanent onaccountsuppressionlist": _rejected(LISTED),
        "bounce permanent unsubscribedrecipient": _rejected(UNSUBSCRIBED),
        "bounce transient": _bounced(OTHER),
        "bounce transient mailboxfull": _bounced(FULL),
        "bounce transient messagetoolarge": _bounced(CONTENT),
        "bounce transient contentrejected": _bounced(CONTENT),
        "bounce transient attachmentrejected": _bounced(CONTENT),
        "bounce undetermined": _bounced(OTHER),
        "reject": _rejected(CONTENT),
        "rendering failure": Meaning("failed", SENDER),
        "complaint": _COMPLAINED,
        # A report of a server about our signatures (RFC 6591), and one who takes a complaint back (RFC 6430).
        "complaint auth-failure": Meaning("ignored"),
        "complaint not-spam": Meaning("ignored"),
        "complaint onaccountsuppressionlist": _rejected(COMPLAINED),
        "subscription": _UNSUBSCRIBED,
    },
    # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event; the classification, else the type
    "sendgrid": {
        "processed": _QUEUED,
        "delivered": _DELIVERED,
        "deferred": _DEFERRED,
        "bounce": _bounced(OTHER),
        "bounce bounce": _bounced(DEAD),
        "bounce blocked": _bounced(SENDER),
        "bounce expired": _bounced(OTHER),
        "bounce invalid address": _bounced(DEAD),
        "bounce mailbox unavailable": _bounced(OTHER),
        "bounce content": _bounced(CONTENT),
        "bounce reputation": _bounced(SENDER),
        "bounce frequency or volume too high": _bounced(SENDER),
        "bounce technical failure": _bounced(OTHER),
        "bounce unclassified": _bounced(OTHER),
        "dropped": _rejected(OTHER),
        "dropped bounced address": _rejected(LISTED),
        "dropped invalid": _rejected(DEAD),
        "dropped invalid smtpapi header": _rejected(SENDER),
        "dropped recipient list over package quota": _rejected(SENDER),
        "dropped spam content": _rejected(CONTENT),
        "dropped spam reporting address": _rejected(COMPLAINED),
        "dropped unsubscribed address": _rejected(UNSUBSCRIBED),
        "spamreport": _COMPLAINED,
        "unsubscribe": _UNSUBSCRIBED,
        "group_unsubscribe": _UNSUBSCRIBED,
    },
    # https://resend.com/docs/webhooks/event-types; the types of a bounce are those of SES
    "resend": {
        "email.sent": _SENT,
        "email.delivered": _DELIVERED,
        "email.delivery_delayed": _DEFERRED,
        "email.bounced": _bounced(OTHER),
        "email.bounced permanent": _bounced(OTHER),
        "email.bounced permanent general": _bounced(DEAD),
        "email.bounced permanent noemail": _bounced(DEAD),
        "email.bounced permanent suppressed": _rejected(DEAD),
        "email.bounced permanent onaccountsuppressionlist": _rejected(LISTED),
        "email.bounced permanent messagerejected": _bounced(CONTENT),
        "email.bounced transient mailboxfull": _bounced(FULL),
        "email.bounced transient messagetoolarge": _bounced(CONTENT),
        "email.bounced transient contentrejected": _bounced(CONTENT),
        "email.bounced transient attachmentrejected": _bounced(CONTENT),
        "email.suppressed": _rejected(LISTED),
        "email.failed": Meaning("failed", SENDER),
        "email.complained": _COMPLAINED,
    },
    # https://developers.brevo.com/docs/transactional-webhooks
    "brevo": {
        "request": _QUEUED,
        "delivered": _DELIVERED,
        "deferred": _DEFERRED,
        "soft_bounce": _bounced(OTHER),
        "hard_bounce": _bounced(DEAD),
        "invalid_email": _rejected(DEAD),
        "blocked": _rejected(LISTED),
        "error": Meaning("failed", SENDER),
        "spam": _COMPLAINED,
        "complaint": _COMPLAINED,
        "unsubscribed": _UNSUBSCRIBED,
        "unsubscribe": _UNSUBSCRIBED,
    },
}


def meaning(provider: str, keys: Iterable[str], *, status: str = "") -> Meaning | None:
    """The meaning of the first known key of a report, the most exact one first; None when none is known.

    `status` is the answer of the recipient's server, or its enhanced status code: it counts before the provider's
    class, but not where no server was contacted, and a mail that is still being tried makes no address `dead`.
    """
    known = MEANINGS[provider]
    found = next((known[word.lower()] for word in keys if word.lower() in known), None)
    if found is None or found.kind == "ignored":
        return None
    if found.kind == "bounced":
        return Meaning(found.kind, by_status(status) or found.refusal)
    if found.kind == "deferred":
        refusal = by_status(status)
        return Meaning(found.kind, found.refusal if refusal in {None, DEAD} else refusal)
    return found
