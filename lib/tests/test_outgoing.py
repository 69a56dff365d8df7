"""Where a typed address may lead: to what is public or named, by one resolution, and to nothing it redirects to."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lib import outgoing
from notifications.tests.receiver import Receiver

PRIVATE = [
    *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200"),
    *("0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.192", "168.63.129.16", "198.18.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "::ffff:10.0.0.1", "::127.0.0.1"),
    *("64:ff9b::a00:1", "2002:7f00:1::", "2001::1", "::ffff:169.254.169.254"),
]


@pytest.fixture
def server():
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def local(settings):
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def resolver(monkeypatch):
    """`resolver(name, *addresses)`: each look for the name gets the next one, and the last is repeated."""
    asked, real = [], socket.getaddrinfo

    def resolve(name, *addresses):
        def answer(host, port, *args, **kwargs):
            if host != name:
                return real(host, port, *args, **kwargs)
            asked.append(host)
            address = addresses[min(len(asked), len(addresses)) - 1]
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(outgoing.socket, "getaddrinfo", answer)
        return asked

    return resolve


@pytest.fixture
def connections(monkeypatch):
    """Where connections go, to none of which one is made."""
    made = []

    def connect(address, timeout):
        made.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(outgoing.socket, "create_connection", connect)
    return made


def post(url, body=b"{}", timeout=5):
    return outgoing.post(url, body, {"Content-Type": "application/json"}, timeout=timeout)


@pytest.mark.parametrize("address", PRIVATE)
def test_no_private_address_is_reached_by_number_or_by_name(address, resolver, connections):
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(outgoing.Refused):
        outgoing.check_url(f"https://{host}/hooks")
    resolver("innocent.example", address)

    assert outgoing.check_url("https://innocent.example/") == "https://innocent.example/"
    assert post("https://innocent.example/").error == "address"
    assert connections == []


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "LOCALHOST"])
def test_this_machine_is_refused_by_name(host):
    with pytest.raises(outgoing.Refused, match=outgoing.PRIVATE):
        outgoing.check_url(f"https://{host}/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "017700000001"])
def test_other_spellings_of_this_machine_are_refused_when_connecting(host, settings, connections):
    settings.DEBUG = True

    assert post(f"http://{host}:9/").error in {"address", "dns"}
    assert connections == []


def test_a_name_is_resolved_once_and_connected_to_what_was_checked(resolver, connections):
    asked = resolver("rebinding.example", "93.184.216.34", "127.0.0.1")

    assert post("https://rebinding.example/").error == "connect"
    assert connections == ["93.184.216.34"]
    assert post("https://rebinding.example/").error == "address"
    assert connections == ["93.184.216.34"]
    assert len(asked) == 2


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.org", "ftp://example.org", "https://", "https://a b.example/", "https://example.org:0/"),
        *("https://example.org:99999/", "https://u@example.org/", "https://:p@example.org/", "https://ex.org/#a"),
        *("https://exa\nmple.org/", "https://example.org\\@10.0.0.1/", "https://[::1", "http://example.org/"),
    ],
)
def test_what_is_no_https_address_is_refused(url):
    with pytest.raises(outgoing.Refused):
        outgoing.check_url(url)


def test_http_takes_debug_or_a_named_network(settings, resolver, connections):
    resolver("plain.example", "93.184.216.34")
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["10.0.0.0/8"]

    assert outgoing.check_url("http://plain.example") == "http://plain.example"
    assert post("http://plain.example").error == "address"
    settings.DEBUG = True
    assert post("http://plain.example").error == "connect"
    assert outgoing.check_url("http://10.1.2.3:8080/x?y=1") == "http://10.1.2.3:8080/x?y=1"


def test_a_redirect_is_not_followed(server, local):
    server.answers = [(302, {"Location": f"{server.url}/elsewhere"}, b"over there")]

    answer = post(server.url)

    assert (answer.status, answer.text, len(server.requests)) == (302, "over there", 1)


def test_a_large_answer_is_cut(server, local):
    server.answers = [(200, {}, b"a" * 1_000_000)]

    answer = post(server.url)

    assert answer.status == 200
    assert answer.text == "a" * outgoing.KEPT


def test_what_cannot_be_shown_is_replaced(server, local):
    server.answers = [(500, {}, b"\x00\xff\x1b[31mred")]

    assert post(server.url).text == "\N{REPLACEMENT CHARACTER}" * 3 + "[31mred"


def test_one_deadline_holds_for_a_server_that_drips(local):
    """A byte now and then would keep a limit of each read from ever being reached."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def drip():
        link, _ = listener.accept()
        with link:
            link.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not ended.wait(0.05):
                try:
                    link.sendall(b"a")
                except OSError:
                    return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    started = time.monotonic()

    answer = post(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=0.5)
    ended.set()
    thread.join(5)
    listener.close()

    assert answer.error == "timeout"
    assert time.monotonic() - started < 20


def test_trouble_has_a_name(local, resolver):
    assert post("http://127.0.0.1:1/").error == "connect"
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: listener.accept()[0].close(), daemon=True).start()
    assert post(f"http://127.0.0.1:{listener.getsockname()[1]}/").error == "protocol"
    listener.close()


def certificate(tmp_path, name):
    """A certificate of its own authority, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    about = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(about)
        .issuer_name(about)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = tmp_path / "certificate.pem"
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_the_certificate_must_be_of_the_name_that_was_typed(server, local, resolver, tmp_path, monkeypatch):
    pem = certificate(tmp_path, "hooks.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
    monkeypatch.setattr(outgoing, "_tls", lambda: ssl.create_default_context(cafile=pem))

    resolver("hooks.example", "127.0.0.1")
    assert post(f"https://hooks.example:{server.port}/").status == 200
    resolver("other.example", "127.0.0.1")
    refused = post(f"https://other.example:{server.port}/")

    assert refused.error == "tls"
    assert "other.example" in refused.text
    assert len(server.requests) == 1
    assert server.requests[0][1]["Host"] == f"hooks.example:{server.port}"


def test_allowed_networks_hold_for_addresses_of_both_kinds(settings):
    settings.WEBHOOKS_ALLOWED_NETWORKS = ["10.0.0.0/8", "fd00::/8"]

    for text, allowed in (("10.0.0.1", True), ("::ffff:10.0.0.1", True), ("fd00::1", True), ("192.168.0.1", False)):
        assert outgoing.is_allowed(ipaddress.ip_address(text), scheme="https") is allowed
