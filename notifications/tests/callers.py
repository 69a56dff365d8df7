"""Calls of the providers' webhooks, in their own shapes and with their own proofs.

Shapes as in the providers' documentation; of MailerSend and Resend also as in the types of their SDKs.
"""

import base64
import hashlib
import hmac
import json
import time
from itertools import count

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.test import Client

SECRET = "whk-0123456789-abcdef"
BASIC = "hooks:correct-horse-battery"
AT = "2026-01-31T12:00:00.000000Z"
SECONDS = 1769860800
RECIPIENT = "ada@example.org"

_numbers = count()


class Provider:
    """Calls as a provider does; `report` is one of its own shape, with the keys of `reports.MEANINGS`."""

    name = ""
    secret = BASIC

    def __init__(self, settings):
        backend = {"ses": "amazon_ses"}.get(self.name, self.name)
        settings.MAILERS = {"default": {"BACKEND": f"anymail.backends.{backend}.EmailBackend", "OPTIONS": {}}}
        settings.NOTIFICATIONS_WEBHOOK_SECRET = self.secret
        self.path = f"/api/notifications/webhooks/{self.name}"
        self.client = Client(enforce_csrf_checks=True)

    def post(self, report, **headers):
        body = report if isinstance(report, bytes) else json.dumps(report).encode()
        headers = {**self.proof(body), **headers}
        return self.client.generic("POST", self.path, body, content_type="application/json", headers=headers)

    def proof(self, body):
        return {"authorization": f"Basic {base64.b64encode(self.secret.encode()).decode()}"}


class MailerSend(Provider):
    name, secret = "mailersend", SECRET

    def proof(self, body, secret=SECRET):
        return {"signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}

    @staticmethod
    def report(
        type, *, uid="", id="ev1", message_id="62fb66bef54a112e920b5493", at=AT, to=RECIPIENT, answer="", **morph
    ):
        if answer:
            morph["reason"] = answer
        email = {
            "object": "email",
            "id": "62f114f8165fe0d8db0288e5",
            "created_at": AT,
            "from": "noreply@example.org",
            "subject": "Offer",
            "status": type,
            "tags": [uid] if uid else None,
            "message": {"object": "message", "id": message_id, "created_at": AT},
            "recipient": {"object": "recipient", "id": "62c6b6b1", "email": to, "created_at": AT},
        }
        data = {"object": "activity", "id": id, "type": type, "created_at": at, "email": email, "morph": morph or None}
        return {"type": f"activity.{type}", "domain_id": "yv69oxl5", "created_at": AT, "url": "https://x", "data": data}

    @staticmethod
    def second_version(type, *, uid="", to=RECIPIENT):
        data = {
            "id": "6892766a5b66e2daf3dc9155",
            "domain_id": "yv69oxl5kl785kw2",
            "message_id": "6892766ae78995a317577aa1",
            "email_id": "6892766a8d52ba62543d5e71",
            "type": type,
            "created_at": AT,
            "subject": "Offer",
            "email": to,
            "tags": [uid, "tests.offer"],
            "meta": [],
        }
        return {"type": f"activity.{type}", "created_at": AT, "data": data}


class Postmark(Provider):
    name = "postmark"

    @staticmethod
    def report(record, *, uid="", message_id="883953f4-6105-42a2-a16a-77a8eac79483", **more):
        return {
            "RecordType": record,
            "MessageID": message_id,
            "Metadata": {"uid": uid} if uid else {},
            "Tag": "tests.offer",
            "ServerID": 23,
            "MessageStream": "outbound",
            **more,
        }

    @classmethod
    def refusal(cls, type, *, uid="", answer="", to=RECIPIENT):
        if type == "Delivery":
            return cls.report("Delivery", uid=uid, Recipient=to, DeliveredAt=AT, Details=answer)
        record, _, reason = type.partition(" ")
        if record == "SubscriptionChange":
            reason, _, origin = reason.partition(" ")
            told = {"Recipient": to, "ChangedAt": AT, "Origin": origin or "Recipient", "SuppressSending": True}
            return cls.report(record, uid=uid, SuppressionReason=reason, **told)
        record = "SpamComplaint" if type == "SpamComplaint" else "Bounce"
        more = {"ID": next(_numbers), "Type": type, "Email": to, "BouncedAt": AT, "Details": answer}
        return cls.report(record, uid=uid, Description="What became of it.", **more)


class Mailgun(Provider):
    name, secret = "mailgun", SECRET

    def proof(self, body):
        return {}

    @staticmethod
    def report(event, *, uid="", message_id="", token=None, status=None, **more):
        stamp, token = str(SECONDS), token or f"token{next(_numbers)}"
        signature = hmac.new(SECRET.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
        return {
            "signature": {"timestamp": stamp, "token": token, "signature": signature},
            "event-data": {
                "event": event,
                "timestamp": SECONDS + 0.5,
                "id": "Ase7i2zsRYeDXztHGENqRA",
                "recipient": RECIPIENT,
                "message": {"headers": {"message-id": message_id, "to": RECIPIENT, "from": "x", "subject": "y"}},
                "user-variables": {"uid": uid} if uid else {},
                "tags": [],
                "delivery-status": {"code": 550, "message": "No such user", "description": "", **(status or {})},
                **more,
            },
        }

    @classmethod
    def refusal(cls, words, *, uid="", answer=""):
        severity, _, reason = words.partition(" ")
        if severity not in {"permanent", "temporary"}:
            return cls.report(words, uid=uid)
        reason, _, kind = reason.partition(" ")
        status = {"message": answer} | ({"bounce-type": kind} if kind else {})
        if reason.isdigit():
            reason, status["code"] = "old", int(reason)
        return cls.report("failed", uid=uid, severity=severity, reason=reason or "generic", status=status)


class Ses(Provider):
    """Through a topic of SNS."""

    name = "ses"

    def post(self, report, **headers):
        if isinstance(report, dict) and "Type" in report:
            said = {"x-amz-sns-message-type": str(report["Type"]), "x-amz-sns-message-id": str(report.get("MessageId"))}
            headers = {**said, **headers}
        return super().post(report, **headers)

    @classmethod
    def report(cls, words, *, uid="", answer="", to=(RECIPIENT,)):
        name, _, kind = words.partition(" ")
        name, kind = ("Rendering Failure", "") if name == "Rendering" else (name, kind)
        about = {"timestamp": AT}
        if name == "Bounce":
            kind, _, detail = kind.partition(" ")
            code = answer.partition(" ")[2].partition(" ")[0]
            people = [{"emailAddress": each, "action": "failed"} for each in to]
            for each in people if answer else ():
                each |= {"status": code, "diagnosticCode": f"smtp; {answer}"}
            about |= {"bounceType": kind, "bounceSubType": detail, "bouncedRecipients": people}
        elif name == "Complaint":
            on_list = kind == "OnAccountSuppressionList"
            about |= {"complainedRecipients": [{"emailAddress": each} for each in to]}
            about |= {"complaintSubType": kind if on_list else None, "complaintFeedbackType": "" if on_list else kind}
        elif name == "Delivery":
            about |= {"recipients": list(to), "smtpResponse": "250 ok"}
        elif name == "DeliveryDelay":
            status = {"MailboxFull": "4.2.2"}.get(kind, "4.4.1")
            people = [{"emailAddress": each, "status": status} for each in to]
            about |= {"delayType": kind, "delayedRecipients": people}
        elif name == "Subscription":
            about |= {"source": "UnsubscribeHeader", "newTopicPreferences": {"unsubscribeAll": True}}
        elif name == "Reject":
            about = {"reason": "Bad content"}
        elif name == "Rendering Failure":
            about = {"templateName": "x", "errorMessage": "Attribute 'x' is missing."}
        key = "failure" if name == "Rendering Failure" else name[0].lower() + name[1:]
        metadata = [{"name": "X-Metadata", "value": json.dumps({"uid": uid})}] if uid else []
        mail = {"timestamp": AT, "messageId": "EXAMPLE7c191be45", "destination": list(to), "headers": metadata}
        return cls.notification(json.dumps({"eventType": name, key: about, "mail": mail}))

    @staticmethod
    def notification(message, type="Notification", **more):
        topic = "arn:aws:sns:eu-west-1:123456789012:ses-events"
        return {"Type": type, "MessageId": f"n{next(_numbers)}", "TopicArn": topic, "Message": message, **more}


class SendGrid(Provider):
    """Signs with ECDSA, and always posts a list."""

    name = "sendgrid"
    key = ec.generate_private_key(ec.SECP256R1())
    secret = base64.b64encode(
        key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).decode()

    def proof(self, body, stamp=str(SECONDS)):
        signature = self.key.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        name = "x-twilio-email-event-webhook"
        return {f"{name}-signature": base64.b64encode(signature).decode(), f"{name}-timestamp": stamp}

    @classmethod
    def report(cls, words, *, uid="", answer="", to=RECIPIENT):
        event, _, kind = words.partition(" ")
        more = {}
        if event == "bounce":
            is_type = kind in {"bounce", "blocked", "expired", ""}
            more = (
                {"type": kind or "new", "reason": answer} if is_type else {"bounce_classification": kind, "type": "x"}
            )
            more |= {"status": answer.partition(" ")[2].partition(" ")[0] or "5.0.0", "reason": answer or "no"}
        elif event == "dropped":
            more = {"reason": kind or "Something new"}
        return [
            {
                "email": to,
                "timestamp": SECONDS,
                "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
                "event": event,
                "category": ["tests.offer"],
                "sg_event_id": f"sg{next(_numbers)}",
                "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
                "anymail_id": "9b2f4a3e-0000-4000-8000-000000000000",
                **({"uid": uid} if uid else {}),
                **more,
            }
        ]


class Resend(Provider):
    """Signs as Svix does (Standard Webhooks)."""

    name = "resend"
    secret = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()

    def proof(self, body, stamp=None):
        name, stamp = f"msg_{next(_numbers)}", stamp or str(int(time.time()))
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        mac = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
        signature = f"v1,{base64.b64encode(mac).decode()}"
        return {"svix-id": name, "svix-timestamp": stamp, "svix-signature": signature}

    @staticmethod
    def report(words, *, uid="", answer="", to=RECIPIENT):
        type, _, kind = words.partition(" ")
        data = {
            "created_at": AT,
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "message_id": "<111-222-333@email.example.com>",
            "from": "Acme <onboarding@resend.dev>",
            "to": [to],
            "subject": "Offer",
            "headers": [{"name": "X-Metadata", "value": json.dumps({"uid": uid})}] if uid else [],
        }
        if type == "email.bounced":
            kind, _, detail = kind.partition(" ")
            data["bounce"] = {"message": "It bounced.", "type": kind, "subType": detail}
            if answer:
                data["bounce"]["diagnosticCode"] = [f"smtp; {answer}"]
        elif type == "email.suppressed":
            data["suppressed"] = {"message": "Resend has suppressed it.", "type": "OnAccountSuppressionList"}
        elif type == "email.failed":
            data["failed"] = {"reason": "reached_daily_quota"}
        return {"type": type, "created_at": AT, "data": data}


class Brevo(Provider):
    name = "brevo"

    @staticmethod
    def report(event, *, uid="", answer="", to=RECIPIENT):
        return {
            "event": event,
            "email": to,
            "id": 26224,
            "date": "2026-01-31 12:00:00",
            "ts": SECONDS,
            "message-id": "<201798300811.5787683@relay.domain.com>",
            "ts_event": SECONDS,
            "ts_epoch": SECONDS * 1000 + next(_numbers),
            "subject": "Offer",
            "X-Mailin-custom": json.dumps({"uid": uid}) if uid else "",
            "sending_ip": "192.0.2.1",
            "tags": ["tests.offer"],
            "reason": answer,
        }


PROVIDERS = {each.name: each for each in (MailerSend, Postmark, Mailgun, Ses, SendGrid, Resend, Brevo)}


def report_of(name, words, **more):
    """The report of this provider in these words."""
    caller = PROVIDERS[name]
    return getattr(caller, "refusal", caller.report)(words, **more)
