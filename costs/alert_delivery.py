"""Sending alerts: SMTP, and HTTP POST to judged addresses with a signature."""

import hashlib
import hmac
import http.client
import ipaddress
import json
import smtplib
import socket
import ssl
import time
from email.message import EmailMessage
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

from django.conf import settings

from costs.alert_messages import Message

TIMEOUT_SECONDS = 8
MOST_ANSWER_BYTES = 2048


class DeliveryError(Exception):
    """It could not be delivered; `permanent` when another try would fail alike."""

    def __init__(self, message: str, *, permanent: bool = False, remedy: str = ""):
        super().__init__(message)
        self.permanent = permanent
        self.remedy = remedy


def send_mail(recipients: list[str], message: Message) -> str:
    """Hand an e-mail to the SMTP server; what it answered, in words."""
    if not settings.SMTP_URL:
        raise DeliveryError(
            "No SMTP server is set.", permanent=True, remedy="Set AINDUS_SMTP_URL, then retry the operation."
        )
    parts = urlsplit(settings.SMTP_URL)
    mail = EmailMessage()
    mail["From"] = settings.MAIL_FROM
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = message.title
    mail["Date"] = formatdate()
    # The same for every try, so that a mail that is handed over twice is shown once.
    mail["Message-ID"] = f"<{message.id}@aindusdb.invalid>"
    mail.set_content(f"{message.text}\n\n{message.link}\n" if message.link else f"{message.text}\n")
    secure = parts.scheme == "smtps"
    port = parts.port or (465 if secure else 587)
    kind = smtplib.SMTP_SSL if secure else smtplib.SMTP
    given = {"context": ssl.create_default_context()} if secure else {}
    try:
        with kind(parts.hostname, port, timeout=TIMEOUT_SECONDS, **given) as server:
            server.ehlo()
            if not secure and server.has_extn("starttls"):
                server.starttls(context=ssl.create_default_context())
            if parts.username:
                server.login(unquote(parts.username), unquote(parts.password or ""))
            refused = server.send_message(mail, to_addrs=recipients)
    except smtplib.SMTPAuthenticationError as error:
        raise DeliveryError(
            f"The SMTP server refuses the sign-in ({error.smtp_code}).",
            permanent=True,
            remedy="Check AINDUS_SMTP_URL.",
        ) from error
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        raise DeliveryError(
            f"The SMTP server refuses every recipient ({', '.join(map(str, codes))}).",
            permanent=min(codes) >= 500,
        ) from error
    except smtplib.SMTPResponseException as error:
        raise DeliveryError(
            f"The SMTP server answers {error.smtp_code}.", permanent=error.smtp_code >= 550
        ) from error
    except (smtplib.SMTPException, OSError) as error:
        raise DeliveryError(f"The SMTP server cannot be reached ({error}).") from error
    if refused:
        return f"Sent, except to {', '.join(sorted(refused))}"
    return f"Sent to {len(recipients)}"


def signature(key: str, timestamp: int, body: bytes) -> str:
    """`t=UNIX,v1=HEX`: HMAC-SHA-256 with the channel's key over the time, a dot and the body."""
    digest = hmac.new(key.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def post(url: str, content: dict, *, delivery: str, signing_key: str = "") -> str:
    """POST JSON; the status it was taken with, in words. Redirects are not followed."""
    parts = urlsplit(url)
    body = json.dumps(content, separators=(",", ":")).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "aindusdb-control-plane",
        "X-Aindus-Delivery": delivery,
    }
    if signing_key:
        headers["X-Aindus-Signature"] = signature(signing_key, int(time.time()), body)
    connection = _connection(parts)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read(MOST_ANSWER_BYTES)
        status = answer.status
    except (http.client.HTTPException, OSError) as error:
        raise DeliveryError(
            f"{parts.hostname} cannot be reached ({error or type(error).__name__})."
        ) from error
    finally:
        connection.close()
    if 200 <= status < 300:
        return f"{parts.hostname} took it ({status})"
    permanent = 300 <= status < 500 and status not in (408, 425, 429)
    raise DeliveryError(
        f"{parts.hostname} answers {status}.",
        permanent=permanent,
        remedy="Check the channel's URL." if permanent else "",
    )


def _connection(parts) -> http.client.HTTPConnection:
    """A connection to the address that was judged: looking the name up again could lead elsewhere."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _judged_address(parts.hostname, port)
    if parts.scheme == "https":
        return _SecureTo(address, parts.hostname, port)
    return _PlainTo(address, parts.hostname, port)


class _PlainTo(http.client.HTTPConnection):
    def __init__(self, address: str, host: str, port: int):
        super().__init__(host, port, timeout=TIMEOUT_SECONDS)
        self._address = address

    def connect(self):
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _SecureTo(http.client.HTTPSConnection):
    def __init__(self, address: str, host: str, port: int):
        super().__init__(host, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
        self._address = address

    def connect(self):
        plain = socket.create_connection((self._address, self.port), self.timeout)
        try:
            self.sock = self._context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def _judged_address(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"{host} has no address.") from error
    allowed = [ipaddress.ip_network(one) for one in settings.ALERT_NETWORKS]
    for _, _, _, _, place in found:
        address = ipaddress.ip_address(place[0].partition("%")[0])
        if address.is_global or any(
            address in network for network in allowed if network.version == address.version
        ):
            return str(address)
    raise DeliveryError(
        f"{host} leads to an address that is not public.",
        permanent=True,
        remedy="Name its network in AINDUS_ALERT_NETWORKS if alerts may go there, then retry the operation.",
    )
