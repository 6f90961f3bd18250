"""Redactions: what is found, what is left, and that a second application changes nothing."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.cleaning.redaction import REDACTIONS

# Put together here, so that no scanner takes the examples for the real thing.
LETTERS = "aB3dE5gH7jK9mN1pQ2"
JWT = ".".join(
    base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "HS256"}, {"sub": 1})
)
KEY_LINES = "\n".join(["MIIEpAIBAAKCAQEA" + LETTERS * 2] * 3)
BEGIN, END = ("-----" + word + " RSA PRIVATE KEY-----" for word in ("BEGIN", "END"))
TOKENS = {
    "amazon": "AKIA" + "IOSFODNN7EXAMPLE",
    "amazon temporary": "ASIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + LETTERS * 2,
    "github app": "ghs_" + LETTERS * 2,
    "github fine-grained": "github_pat_" + LETTERS + "_" + LETTERS * 3 + "abcdefghi",
    "gitlab": "glpat-" + LETTERS + "_-",
    "slack": "xox" + "b-123456789012-" + LETTERS,
    "slack app": "xapp-" + "1-A0123-" + LETTERS,
    "slack webhook": "hooks.slack.com/" + "services/T01234567/B01234567/" + LETTERS,
    "web token": JWT + "." + LETTERS,
    "web token, unsigned": JWT + ".",
    "stripe": "sk_" + "live_" + LETTERS,
    "stripe restricted": "rk_" + "test_" + LETTERS,
    "openai": "sk-" + "proj-" + LETTERS * 3,
    "google": "AIza" + LETTERS + LETTERS[:17],
    "hugging face": "hf_" + LETTERS + LETTERS[:16],
    "npm": "npm_" + LETTERS * 2,
    "pypi": "pypi-" + "AgE" + LETTERS * 3,
    "sendgrid": "SG." + LETTERS + "abcd." + LETTERS * 2 + "abcdefg",
}

FOUND = {
    "email": [
        ("write to jane.doe+lists@mail.example.co.uk.", "write to <EMAIL>."),
        ("<a@b.org>, 'c@d.de'; mailto:e_f@g-h.com?x", "<<EMAIL>>, '<EMAIL>'; mailto:<EMAIL>?x"),
        ("jürgen@müller.de und почта@пример.рф", "<EMAIL> und <EMAIL>"),
        ("请联系john@example.com谢谢", "请联系<EMAIL>谢谢"),
        ("a@b@c.de", "a@<EMAIL>"),
        ("a@b.de-c@d.de", "<EMAIL>-<EMAIL>"),
        ("x@example.xn--p1ai", "<EMAIL>"),
    ],
    "telephone": [
        ("ring +44 20 7946 0018, or", "ring <TELEPHONE>, or"),
        ("+49 (30) 23125-2222", "<TELEPHONE>"),
        ("(+49) 30 23125 2222", "<TELEPHONE>"),
        ("(+44 20 7946 0018)", "(<TELEPHONE>)"),
        ("(+44 20 7946 0018 in London)", "(<TELEPHONE> in London)"),
        ("+1 425-882-8080/+1 425-882-8081", "<TELEPHONE>/<TELEPHONE>"),
        ("tel:+14258828080", "tel:<TELEPHONE>"),
        ("\uff0b81 3 3224 9999", "<TELEPHONE>"),
        ("+12 and then +41 44 668 18 00", "+12 and then <TELEPHONE>"),
        ("+44 20 7946 0018 ext. 12", "<TELEPHONE>"),
        ("+44 20 7946 0018 10:30", "<TELEPHONE> 10:30"),
        ("+44 20 7946 0018 1.2.3.4", "<TELEPHONE> 1.2.3.4"),
    ],
    "card": [
        ("Visa 4111 1111 1111 1111 12/27", "Visa <CARD> 12/27"),
        ("5555-5555-5555-4444, 378282246310005.", "<CARD>, <CARD>."),
        ("3782 822463 10005", "<CARD>"),
        ("4222222222222", "<CARD>"),
        ("3056 9309 0259 04", "3056 9309 0259 04"),  # the last group is too short for a card
        ("30569309025904", "<CARD>"),
        ("6011111111111117 3530111333300000", "<CARD> <CARD>"),
        ("卡号4111111111111111。", "卡号<CARD>。"),
        ("order 123 4111 1111 1111 1111", "order 123 <CARD>"),
        ("2223003122003222", "<CARD>"),
    ],
    "ip_address": [
        ("from 192.0.2.17.", "from <IP_ADDRESS>."),
        ("10.0.0.0/8 and 10.1.2.3:8080", "<IP_ADDRESS>/8 and <IP_ADDRESS>:8080"),
        ("[2001:db8::1]:443", "[<IP_ADDRESS>]:443"),
        ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "<IP_ADDRESS>"),
        ("at fe80::1%eth0", "at <IP_ADDRESS>%eth0"),
        ("at fe80::1: it is up", "at <IP_ADDRESS>: it is up"),
        ("fe80::.", "<IP_ADDRESS>."),
        ("::ffff:192.0.2.1", "<IP_ADDRESS>"),
        ("1.2.3.4", "<IP_ADDRESS>"),
        ("地址10.1.2.3。", "地址<IP_ADDRESS>。"),
        ("2001:2:3:4:5:6:7:8:1.2.3.4", "2001:2:3:4:5:6:7:8:<IP_ADDRESS>"),
    ],
    "secret": [
        ("https://jane:s3cret!@example.org/x", "https://<SECRET>@example.org/x"),
        ("https://{user}:s3cret@{host}", "https://<SECRET>@{host}"),
        ("redis://:pass@localhost:6379", "redis://<SECRET>@localhost:6379"),
        ("aws_secret_access_key = " + LETTERS * 2 + "/+ab", "aws_secret_access_key = <SECRET>"),
        ('"SecretAccessKey": "' + LETTERS * 2 + '/+ab"', '"SecretAccessKey": "<SECRET>"'),
        (f"a\n{BEGIN}\n{KEY_LINES}\n{END}\nb", "a\n<SECRET>\nb"),
        (f"{BEGIN}\nProc-Type: 4,ENCRYPTED\n\n{KEY_LINES}\n{END}", "<SECRET>"),
        (f"{BEGIN}\n{KEY_LINES}\nand so on", "<SECRET>\nand so on"),
        *[(f"use {token} here", "use <SECRET> here") for token in TOKENS.values()],
    ],
}

LEFT = {
    "email": ["user@localhost", "@name", "a @ b.de", "pip install x@1.2.3", "3@4.5", "a@.de", "a@b.c", "a@-b.de"],
    "telephone": [
        "030 23125 2222",  # no region is assumed
        "+12345678",  # no such number
        "2 + 2 = 4, +1.5 %, C++11 to C++20",
        "+44 20 7946 001",
        "+44 20 7946 0018abc",
        "+1 2 3 4",
    ],
    "card": [
        "4111 1111 1111 1112",  # Luhn
        "9111 1111 1111 1111 1111",
        "1234567890123452",  # passes Luhn; no issuer
        "4111  1111  1111  1111",
        "a4111111111111111 4111111111111111b",
        "0.4111111111111111 4111111111111111.5",
        "41 11 11 11 11 11 11 11",
        "411111111111111111111111",
        "2024-01-01 10:20:30",
    ],
    "ip_address": [
        "version 1.2.3.4, v. 1.2.3.4, v1.2.3.4, Release 1.2.3.4, § 1.2.3.4",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "10:20:30",
        "at 10:20::30",
        "2001:1:1:1:1:1:1::1.2.3.4",
        "10:20:30:40:50:60:70:80",
        "std::vector, a::b, ::, face::",
        "127.0.0.1, 0.0.0.0, ::1",  # nobody's own
        "255.255.255.0, 224.0.0.1, ff02::1",
    ],
    "secret": [
        "https://example.org:8080/a@b",
        "https://{user}:{password}@{host}",
        "the PRIVATE KEY of the garden",
        "task-force, mask_live_show, A-AKIAIOSFODNN7EXAMPLE, eyJ.eyJ.",
        "ghp_short",
        "0123456789abcdef0123456789abcdef",  # entropy alone is no sign
    ],
}


@pytest.mark.parametrize(
    ("name", "text", "redacted"), [(name, *case) for name, cases in FOUND.items() for case in cases]
)
def test_what_is_found_is_replaced_and_all_else_stays(name: str, text: str, redacted: str) -> None:
    assert REDACTIONS[name](text) == redacted
    assert REDACTIONS[name](redacted) == redacted


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in LEFT.items() for text in texts])
def test_what_only_looks_alike_stays(name: str, text: str) -> None:
    assert REDACTIONS[name](text) == text


def test_in_their_order_a_password_in_a_url_does_not_pass_for_an_email_address() -> None:
    text = "https://jane:secret@example.org"
    for redact in REDACTIONS.values():
        text = redact(text)
    assert text == "https://<SECRET>@example.org"


# Pieces of what is looked for, which hypothesis puts together in ways that nobody writes.
PIECES = st.one_of(
    st.sampled_from([case[0] for cases in FOUND.values() for case in cases]),
    st.sampled_from([text for texts in LEFT.values() for text in texts]),
    st.sampled_from(
        [*"+@.:-_/([ \n019afx<>é谢", "::", "://", "fe80::", "+49", "4111", "1.2.3.4", "version ", BEGIN, END]
    ),
)

steady = settings(derandomize=True, deadline=None)


@pytest.mark.parametrize("name", REDACTIONS)
@steady
@given(pieces=st.lists(PIECES, max_size=6))
def test_a_second_application_changes_nothing(name: str, pieces: list[str]) -> None:
    once = REDACTIONS[name]("".join(pieces))
    assert REDACTIONS[name](once) == once


@pytest.mark.parametrize("name", REDACTIONS)
@steady
@given(text=st.text(alphabet="+@.:-_/(019af <\n", max_size=40))
def test_a_second_application_changes_nothing_in_strings_of_signs(name: str, text: str) -> None:
    once = REDACTIONS[name](text)
    assert REDACTIONS[name](once) == once


@pytest.mark.parametrize("other", ["email", "telephone", "card", "ip_address", "secret"])
@pytest.mark.parametrize("name", REDACTIONS)
def test_no_redaction_touches_the_placeholder_of_another(name: str, other: str) -> None:
    text = f"<{other.upper()}>@<{other.upper()}>.1.2.3:<{other.upper()}>"
    assert REDACTIONS[name](text) == text


# Besides what all must bear: beginnings of what a redaction looks for.
HOSTILE = {
    "email": ["a@", "a.", "@a."],
    "telephone": ["+1", "+1234 "],
    "card": ["1 ", "41 "],
    "ip_address": ["1.", "a:", "::"],
    "secret": ["://", "://a:", "eyJ", "eyJ.", "sk-", "-----BEGIN ", "ACCESS"],
}


@pytest.mark.parametrize(
    ("name", "piece"), [(name, piece) for name in REDACTIONS for piece in ["a", "1", "@", ".", ":", *HOSTILE[name]]]
)
def test_a_million_characters_end(name: str, piece: str) -> None:
    # What backtracks would take days.
    text = piece * (1_000_000 // len(piece))
    assert REDACTIONS[name](text) == text


def test_truncated_private_keys_one_after_another_end() -> None:
    assert REDACTIONS["secret"](f"{BEGIN}\n" * 30_000) == "<SECRET>\n" * 30_000
