"""Tokens."""

import pytest

from tf_ls.serving.errors import ServingError
from tf_ls.serving.security import TOKEN_VARIABLE, check_token, read_token


def test_where_a_token_comes_from(tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-environment")
    assert read_token(None) == "of-the-environment"
    (tmp_path / "token").write_text("of-the-file\n")
    assert read_token(tmp_path / "token") == "of-the-file"


@pytest.mark.parametrize("bad", ["", " \n", "two words", "schlüssel"])
def test_tokens_that_are_none(bad, tmp_path):
    (tmp_path / "token").write_text(bad)
    with pytest.raises(ValueError, match="the token must have"):
        read_token(tmp_path / "token")


@pytest.mark.parametrize("given", ["Bearer secret", "bearer secret", "Bearer  secret "])
def test_the_right_one(given):
    check_token("secret", given)


@pytest.mark.parametrize(
    "given", ["", "secret", "Bearer", "Bearer Secret", "Basic secret", "Bearer sécret", "Bearer x"]
)
def test_others(given):
    check_token(None, given)
    with pytest.raises(ServingError) as error:
        check_token("secret", given)
    assert error.value.http_status == 401
