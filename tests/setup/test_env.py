import pytest
from django.core.exceptions import ImproperlyConfigured

from controlplane.env import Env


def test_values_are_parsed():
    env = Env({"N": "5", "B": "Yes", "W": " a, b ,,c", "T": "x", "EMPTY": ""})
    assert env.integer("N", 1, doc="") == 5
    assert env.boolean("B", False, doc="") is True
    assert env.words("W", doc="") == ["a", "b", "c"]
    assert env.text("T", doc="", choices=("x", "y")) == "x"
    assert env.text("EMPTY", "default", doc="") == "default"
    assert env.integer("ABSENT", 7, doc="") == 7
    assert set(env.declared) == {"N", "B", "W", "T", "EMPTY", "ABSENT"}


@pytest.mark.parametrize(
    ("environ", "read", "message"),
    [
        ({"N": "five"}, lambda env: env.integer("N", 1, doc=""), "not a whole number"),
        ({"N": "0"}, lambda env: env.integer("N", 1, least=1, doc=""), "not between 1"),
        ({"B": "maybe"}, lambda env: env.boolean("B", True, doc=""), "use true or false"),
        ({"T": "z"}, lambda env: env.text("T", doc="", choices=("x", "y")), "use one of x, y"),
        ({"T": "z", "T_FILE": "/dev/null"}, lambda env: env.text("T", doc=""), "not both"),
        ({"T_FILE": "/no/such/file"}, lambda env: env.text("T", doc=""), "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(environ, read, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        read(Env(environ))


def test_a_value_may_come_from_a_file(tmp_path):
    (tmp_path / "value").write_text("secret\n")
    assert Env({"T_FILE": str(tmp_path / "value")}).text("T", doc="") == "secret"


def test_a_secret_is_made_once_and_closed_to_others(tmp_path):
    path = tmp_path / "secrets" / "key"
    first = Env({}).secret("K", path, doc="")
    assert len(first) >= 48
    assert Env({}).secret("K", path, doc="") == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["key"]
    assert Env({"K": "given"}).secret("K", path, doc="") == "given"


def test_a_secret_that_cannot_be_kept_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match="AINDUS_DATA_DIR"):
        Env({}).secret("K", tmp_path / "file" / "key", doc="")
