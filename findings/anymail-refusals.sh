#!/bin/sh
# django-anymail 15.2: one normalized event type stands for opposite things a recipient said.
#
# A handler that acts on `event_type` as documented ("complained": reported as spam; "bounced": refused by the
# receiving server) is wrong for reports that the providers document:
#
#   Amazon SES, Complaint with complaintFeedbackType "not-spam" (RFC 6430: the mail is NOT spam)   complained  spam
#   Amazon SES, Complaint with "auth-failure" (RFC 6591: sent by a server about our signatures)    complained  spam
#   Postmark, Bounce of Type SpamNotification (refused for its content or blocked)                 complained  spam
#   Mailgun, failed with reason "suppress-unsubscribe" (nobody was asked: unsubscribed before)     bounced     other
#   Mailgun, failed with reason "suppress-complaint" (nobody was asked: complained before)         bounced     other
#   Brevo, "unsubscribed" (the name its webhooks send)                                             unknown     None
#
# The guess that failed: that `event_type` and `reject_reason` tell a dead address, a complaint and an unsubscription
# apart. They do for most reports; for these only `esp_event` does.
#
# Prints one line for each, as above. Exits 1 when django-anymail answers otherwise.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "django-anymail[amazon-ses]==15.2" "Django~=5.2.0"
cat > "$dir/check.py" <<'PYTHON'
import sys

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["anymail"], ANYMAIL={"WEBHOOK_SECRET": "u:p", "MAILGUN_WEBHOOK_SIGNING_KEY": "k"}
)
django.setup()

from anymail.webhooks.amazon_ses import AmazonSESTrackingWebhookView as Ses
from anymail.webhooks.brevo import BrevoTrackingWebhookView as Brevo
from anymail.webhooks.mailgun import MailgunTrackingWebhookView as Mailgun
from anymail.webhooks.postmark import PostmarkTrackingWebhookView as Postmark


def ses(kind):
    complaint = {"complainedRecipients": [{"emailAddress": "a@example.org"}], "complaintFeedbackType": kind}
    event = {"eventType": "Complaint", "complaint": complaint, "mail": {"messageId": "m", "destination": []}}
    return Ses().esp_to_anymail_events(event, {"MessageId": "n"})[0]


def mailgun(reason):
    event = {"event": "failed", "severity": "permanent", "reason": reason, "recipient": "a@example.org"}
    event |= {"timestamp": 1769860800.5, "message": {"headers": {}}, "delivery-status": {"code": 607}}
    return Mailgun().esp_to_anymail_event({"event-data": event})


bounce = {"RecordType": "Bounce", "Type": "SpamNotification", "Email": "a@example.org", "ID": 1}
seen = {
    "Amazon SES not-spam": ses("not-spam"),
    "Amazon SES auth-failure": ses("auth-failure"),
    "Postmark SpamNotification": Postmark().esp_to_anymail_event(bounce),
    "Mailgun suppress-unsubscribe": mailgun("suppress-unsubscribe"),
    "Mailgun suppress-complaint": mailgun("suppress-complaint"),
    "Brevo unsubscribed": Brevo().esp_to_anymail_event({"event": "unsubscribed", "email": "a@example.org"}),
}
found = [(name, event.event_type, event.reject_reason) for name, event in seen.items()]
for name, kind, reason in found:
    print(f"{name:30} {kind:12} {reason}")
wanted = [("complained", "spam")] * 3 + [("bounced", "other")] * 2 + [("unknown", None)]
sys.exit([(kind, reason) for _, kind, reason in found] != wanted)
PYTHON
"$dir/venv/bin/python" "$dir/check.py"
