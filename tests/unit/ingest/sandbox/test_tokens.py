import datetime as dt
from urllib.parse import parse_qs, urlencode

import pytest

from catalog.patch import parse_time
from ingest.sandbox.tokens import TokenOffice, serial_of

PLACE = ("sentinel2l2a01", "sentinel2-l2")


def altered(token: str, **changes: str) -> str:
    fields = {name: values[0] for name, values in parse_qs(token).items()}
    return urlencode(fields | changes)


def test_token_has_the_recorded_form_and_life():
    answer = TokenOffice(2700).issue(*PLACE)
    assert answer.keys() == {"msft:expiry", "token"}
    fields = parse_qs(answer["token"])
    assert fields.keys() >= {"st", "se", "sp", "sv", "sr", "sig"}
    assert fields["se"] == [answer["msft:expiry"]]
    now = dt.datetime.now(dt.UTC)
    assert abs(parse_time(fields["se"][0]) - now - dt.timedelta(minutes=45)) < dt.timedelta(seconds=30)
    assert abs(now - parse_time(fields["st"][0]) - dt.timedelta(hours=24)) < dt.timedelta(seconds=30)


def test_a_token_opens_its_own_container_only():
    office = TokenOffice()
    token = office.issue(*PLACE)["token"]
    assert office.judge(token, *PLACE) == "valid"
    assert office.judge(token, "sentinel1euwestrtc", PLACE[1]) == "forged"
    assert office.judge(token, PLACE[0], "other") == "forged"
    assert TokenOffice().judge(token, *PLACE) == "forged"


@pytest.mark.parametrize("field", ["st", "se", "skoid", "sig"])
def test_altered_tokens_are_forged(field):
    office = TokenOffice()
    token = office.issue(*PLACE)["token"]
    assert office.judge(altered(token, **{field: "2099-01-01T00:00:00Z"}), *PLACE) == "forged"


def test_an_old_token_is_expired_and_no_token_is_missing():
    office = TokenOffice(ttl_s=-1)
    assert office.judge(office.issue(*PLACE)["token"], *PLACE) == "expired"
    assert office.judge("", *PLACE) == "missing"
    assert office.judge("se=2099-01-01T00:00:00Z", *PLACE) == "missing"


def test_tokens_of_one_moment_differ():
    office = TokenOffice()
    serials = [serial_of(office.issue(*PLACE)["token"]) for _ in range(3)]
    assert len(set(serials)) == 3
    assert serial_of("") == ""
