"""Redactions: what could identify a person or open a door is replaced by a placeholder, all else stays as it is.

Every function takes time linear in its text, and applied to its own output changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address

# Letters and digits of an address: ASCII, and Latin, Greek and Cyrillic letters (RFC 6531). Not those of scripts that
# are written without spaces, where the words around an address would pass for a part of it.
_ALPHANUMERIC = "0-9A-Za-z\u00c0-\u052f"
# Of the characters that RFC 5322 allows before the "@", those that are in use; at most 64 (RFC 5321, 4.5.3.1.1).
_ADDRESS = (
    rf"([.%+'-]*+)[{_ALPHANUMERIC}_][{_ALPHANUMERIC}_.%+'-]{{0,63}}+@"
    rf"(?:(?![-.])[{_ALPHANUMERIC}-]{{1,63}}+\.)+(?:xn--[0-9A-Za-z-]{{1,59}}|[A-Za-z\u00c0-\u052f]{{2,63}})"
)
_EMAIL = re.compile(_ADDRESS)
# What begins where another ends, as in "a@b.de-c@d.de", would be found the second time only.
_EMAILS = re.compile(rf"(?<![{_ALPHANUMERIC}_.%+'-])(?:{_ADDRESS})++")

# The least number of digits that a country code and a subscriber's number have together, each behind at most four
# other characters.
_DIALLED = re.compile("[+\uff0b](?=(?:[^\\d+\uff0b]{0,4}\\d){7})")
_PLUS = re.compile("[+\uff0b]")
_GROUP_END = re.compile(r"\d(?!\w)")
# What of the text the number's parser sees: fifteen digits, however they are spaced out, and an extension.
_DIALLED_LENGTH = 64

# Patterns of numbers look back from their first digit: to find one that begins with a digit is five times as fast.
# Their words are ASCII alone, since a number stands between Chinese characters without a space.
# Groups of fewer than three digits are printed on no card, but make up dates and tables.
_DIGITS = re.compile(r"[0-9](?<!\w.)(?<![0-9]\..)[0-9]{2,18}+(?!\w|\.[0-9])", re.ASCII)
_BETWEEN_DIGITS = frozenset({" ", "-", "\u00a0", "\u2011", "\u202f"})
_LONGEST_CARD = 19
_ISSUERS = re.compile(
    r"""
    4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})                                       # Visa
    | (?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}  # Mastercard
    | 3[47][0-9]{13}                                                         # American Express
    | 3(?:0[0-5]|095|[689])[0-9]{11,}                                        # Diners Club
    | (?:6011|64[4-9]|65)[0-9]{12,}                                          # Discover
    | 35(?:2[89]|[3-8][0-9])[0-9]{12,}                                       # JCB
    | 62[0-9]{14,}                                                           # UnionPay
    | (?:5018|5020|5038|5893|6304|6759|676[1-3])[0-9]{9,}                    # Maestro
    | 220[0-4][0-9]{12,}                                                     # Mir
    """,
    re.VERBOSE,
)

# An address may end a sentence; what goes on behind a full stop is a longer number, such as an object identifier.
# Behind "::", four numbers are the end of what is no IPv6 address.
_IPV4 = re.compile(r"[0-9](?<![\w.].)(?<!::.)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?!\w|\.\w)", re.ASCII)
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:.]{2,46}+(?!\w)", re.ASCII)
# Four numbers behind one of these words are a version or a section.
_NUMBERED = re.compile(r"(?:\b(?:v|ver|version|versions|release|build|section|chapter)\.?|§)\s{0,2}$", re.IGNORECASE)
_NUMBERED_LENGTH = len("versions.  ")

# By a character that prose seldom holds: by the text that a token begins with, what follows, as its issuer documents.
_TOKENS = {
    "_": {
        "ghp_": "[0-9A-Za-z]{36,255}+",  # GitHub, personal
        "gho_": "[0-9A-Za-z]{36,255}+",  # GitHub, OAuth
        "ghu_": "[0-9A-Za-z]{36,255}+",  # GitHub, user of an app
        "ghs_": "[0-9A-Za-z]{36,255}+",  # GitHub, installation of an app
        "ghr_": "[0-9A-Za-z]{36,255}+",  # GitHub, refresh
        "github_pat_": "[0-9A-Za-z_]{82}",
        "sk_live_": "[0-9A-Za-z]{16,247}+",  # Stripe, secret
        "sk_test_": "[0-9A-Za-z]{16,247}+",
        "rk_live_": "[0-9A-Za-z]{16,247}+",  # Stripe, restricted
        "rk_test_": "[0-9A-Za-z]{16,247}+",
        "hf_": "[0-9A-Za-z]{34}",  # Hugging Face
        "npm_": "[0-9A-Za-z]{36}",
    },
    "-": {
        "glpat-": "[0-9A-Za-z_-]{20,255}+",  # GitLab, personal
        "xox": "[abeoprs]-[0-9A-Za-z-]{10,255}+",  # Slack, all but those of an app
        "xapp-": "[0-9]-[0-9A-Za-z-]{10,255}+",  # Slack, app
        "sk-": "[0-9A-Za-z_-]{40,255}+",  # OpenAI, Anthropic
        "pypi-AgE": "[0-9A-Za-z_-]{50,255}+",
    },
    "A": {
        "AKIA": "[2-7A-Z]{16}",  # Amazon, long-term access key
        "ASIA": "[2-7A-Z]{16}",  # Amazon, temporary access key
        "AIza": "[0-9A-Za-z_-]{35}",  # Google
    },
    # RFC 7519: '{"' in base64url begins the header and the claims.
    "J": {"eyJ": r"[0-9A-Za-z_-]++\.eyJ[0-9A-Za-z_-]++\.[0-9A-Za-z_-]*+"},
    "G": {"SG.": r"[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}"},  # SendGrid
    "/": {"hooks.slack.com/services/": "T[0-9A-Z]{8,15}+/B[0-9A-Z]{8,15}+/[0-9A-Za-z]{16,32}+"},
}
# Since a token stands apart, replacing one cannot free another beside it.
_TOKEN = re.compile(
    r"(?<![\w-])(?:"
    + "|".join(re.escape(start) + rest for tokens in _TOKENS.values() for start, rest in tokens.items())
    + r")(?![\w-])",
    re.ASCII,
)
# RFC 7468; the end is missing where a text was cut.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[0-9A-Z]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:"
    r"(?:[^-]|-(?!----))*+-----END (?:[0-9A-Z]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"|(?:\s*+[0-9A-Za-z+/=]{16,}+)*+)"
)
# RFC 3986, 3.2.1. Braces in place of the password are the mark of a template.
_URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#@:<>\"']{0,256}+:[^\s/?#@<>\"'{}]{1,256}+(?=@)")
_AWS_SECRET = re.compile(
    r"((?:secret_access_key|SECRET_ACCESS_KEY|ecretAccessKey)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)"
    r"[0-9A-Za-z/+]{40}(?![0-9A-Za-z/+=])"
)


def _without_emails(text: str) -> str:
    """Addresses with a domain of two labels or more, so none on "localhost"; "git@github.com" is one, too."""
    return _EMAILS.sub(lambda found: _EMAIL.sub(r"\1<EMAIL>", found[0]), text) if "@" in text else text


def _without_telephones(text: str) -> str:
    """International numbers, which begin with "+", that are valid where they ring.

    No region is assumed for other numbers: whether "030 123456" rings in Berlin, and whether it is a telephone number
    at all, the text does not say. "0049" in place of "+49" is not taken either, since what stands for the "+" differs
    from country to country. How the digits are grouped does not matter.
    """
    return _replaced(text, _telephones(text), by="<TELEPHONE>") if "+" in text or "\uff0b" in text else text


def _telephones(text: str) -> Iterator[tuple[int, int]]:
    for plus in _DIALLED.finditer(text):
        start = plus.start()
        # Never the whole text: the matcher copies what follows a number, and stops after 65,535 that are none.
        length = _dialled_length("+" + _PLUS.split(text[start + 1 : start + _DIALLED_LENGTH], maxsplit=1)[0])
        # "(+49) 30 ...": the first bracket belongs to the number if the second does.
        outside = text[start : start + length].partition(")")[0]
        bracketed = len(outside) < length and "(" not in outside and text.endswith("(", 0, start)
        if length:
            yield start - bracketed, start + length


def _dialled_length(window: str) -> int:
    """How many characters the telephone number has that `window` begins with; 0 when it begins with none."""
    from phonenumbers import Leniency, PhoneNumberMatcher  # here: nearly no text needs it

    # Digits behind a number, such as the hour, make it one that does not exist: try without them, group by group.
    for end in [len(window), *reversed([group.end() for group in _GROUP_END.finditer(window)])]:
        found = next(iter(PhoneNumberMatcher(window[:end], None, leniency=Leniency.VALID)), None)
        if found is not None:
            return found.end
    return 0


def _without_cards(text: str) -> str:
    """Payment cards: 13 to 19 digits, in groups of three or more or in one, that an issuer numbers its cards with.

    The last digit must be right by the formula of ISO/IEC 7812-1, annex B (Luhn).
    """
    return _replaced(text, _cards(text), by="<CARD>") if _has_digit(text) else text


def _cards(text: str) -> Iterator[tuple[int, int]]:
    groups = [match.span() for match in _DIGITS.finditer(text)]
    first = 0
    while first < len(groups):
        last = _last_group(text, groups, first=first)
        if last is not None:
            yield groups[first][0], groups[last][1]
        first = first + 1 if last is None else last + 1


def _last_group(text: str, groups: list[tuple[int, int]], *, first: int) -> int | None:
    """Where the longest card number ends that begins with the group `first`."""
    digits, longest = "", None
    for index in range(first, len(groups)):
        start, end = groups[index]
        if index > first and text[groups[index - 1][1] : start] not in _BETWEEN_DIGITS:
            break
        digits += text[start:end]
        if len(digits) > _LONGEST_CARD:
            break
        if _ISSUERS.fullmatch(digits) and _passes_luhn(digits):
            longest = index
    return longest


def _passes_luhn(digits: str) -> bool:
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def _without_ip_addresses(text: str) -> str:
    """IPv4 and IPv6 addresses that a host could have: none that are reserved, multicast, loopback or unspecified.

    "1.2.3.4" is an address to whoever wrote it down without a word; behind "version", "release", "section" and the
    like (in English) it is left. Three numbers, and times such as "10:20:30", are never one.
    """
    # An IPv6 address has seven colons, or two in a row (RFC 4291, 2.2).
    if "::" in text or text.count(":") >= 7:
        text = _IPV6.sub(_ipv6_placeholder, text)
    return _IPV4.sub(_ipv4_placeholder, text) if text.count(".") >= 3 and _has_digit(text) else text


def _ipv6_placeholder(found: re.Match[str]) -> str:
    candidate = found[0]
    if _names_a_host(IPv6Address, candidate):
        return "<IP_ADDRESS>"
    # The colon or full stop of the sentence.
    apart = found.end() == len(found.string) or found.string[found.end()].isspace()
    if apart and candidate[-1] in ":." and _names_a_host(IPv6Address, candidate[:-1]):
        return "<IP_ADDRESS>" + candidate[-1]
    return candidate


def _ipv4_placeholder(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - _NUMBERED_LENGTH) : found.start()]
    return "<IP_ADDRESS>" if not _NUMBERED.search(before) and _names_a_host(IPv4Address, found[0]) else found[0]


def _names_a_host(kind: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        address = kind(text)
    except AddressValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not (address.is_reserved or address.is_multicast or address.is_loopback or address.is_unspecified)


def _without_secrets(text: str) -> str:
    """Private keys, passwords in URLs, and tokens that are known by their beginning; none by their entropy alone.

    Of a URL the user's name goes with the password; of "aws_secret_access_key = ..." the name stays.
    """
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub("<SECRET>", text)
    if "://" in text:
        text = _URL_CREDENTIALS.sub("<SECRET>", text)
    if "ccess" in text or "ACCESS" in text:
        text = _AWS_SECRET.sub(r"\1<SECRET>", text)
    for mark, tokens in _TOKENS.items():
        if mark in text and any(start in text for start in tokens):
            return _TOKEN.sub("<SECRET>", text)
    return text


def _has_digit(text: str) -> bool:
    # A search by a regular expression takes five times as long.
    data = text.encode("utf-8", "surrogatepass")
    return len(data.translate(None, b"0123456789")) < len(data)


def _replaced(text: str, spans: Iterable[tuple[int, int]], *, by: str) -> str:
    pieces, end = [], 0
    for start, stop in spans:
        pieces += [text[end:start], by]
        end = stop
    return "".join([*pieces, text[end:]]) if pieces else text


# In this order, where several are wanted: "https://user:password@example.org" holds what looks like an e-mail address.
REDACTIONS: dict[str, Callable[[str], str]] = {
    "secret": _without_secrets,
    "email": _without_emails,
    "telephone": _without_telephones,
    "card": _without_cards,
    "ip_address": _without_ip_addresses,
}
