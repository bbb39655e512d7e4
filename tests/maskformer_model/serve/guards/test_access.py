"""Who may ask."""

import pytest

from maskformer_model.serve.guards.access import Access
from maskformer_model.serve.guards.request_error import RequestError


def is_let_in(headers, hosts=()):
    try:
        Access(hosts, None).check_source(headers)
    except RequestError as error:
        assert error.status == 403
        return False
    return True


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("127.0.0.1:8501", True),
        ("localhost", True),
        ("LocalHost:8501", True),
        ("[::1]:8501", True),
        ("10.1.2.3", True),
        ("", True),
        ("evil.example:8501", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1@evil.example", False),
    ],
)
def test_names_that_are_not_this_server_s_are_refused_and_addresses_are_not(host, is_allowed):
    assert is_let_in({"Host": host} if host else {}) is is_allowed


def test_further_names_can_be_allowed():
    assert is_let_in({"Host": "models.example:80"}, ["Models.example"])
    assert not is_let_in({"Host": "other.example"}, ["models.example"])
    assert is_let_in({"Host": "other.example"}, ["*"])


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({"Origin": "http://localhost:8501"}, True),
        ({"Origin": "http://localhost:8502"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, True),
    ],
)
def test_pages_of_other_hosts_may_not_ask(headers, is_allowed):
    assert is_let_in({"Host": "localhost:8501", **headers}) is is_allowed


def test_a_token_is_asked_for_and_compared_whole():
    access = Access((), "secret")
    access.check_token("Bearer secret")
    access.check_token("bearer secret ")
    for sent in (None, "", "secret", "Bearer", "Bearer secre", "Bearer secrets", "Basic secret", "Bearer \udcff"):
        with pytest.raises(RequestError, match="must bring the token") as refused:
            access.check_token(sent)
        assert refused.value.status == 401
    Access((), None).check_token(None)
