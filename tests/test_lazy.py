"""Packages whose parts are imported when they are first used."""

from __future__ import annotations

import sys

import pytest

import tf_ls


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `shop` of modules `fruit`, which has `apple`, and `tools`."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").write_text(
        "from tf_ls import lazy\n"
        "__getattr__, __dir__ = lazy.attach(__name__, {'apple': 'fruit'}, ['tools'])\n"
    )
    (tmp_path / "shop/fruit.py").write_text("apple = 'red'")
    (tmp_path / "shop/tools.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    import shop

    yield shop
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def test_a_part_is_imported_when_it_is_used(package):
    assert not {"shop.fruit", "shop.tools"} & set(sys.modules)
    assert package.apple == "red"
    assert "shop.tools" not in sys.modules
    assert package.tools is sys.modules["shop.tools"]


def test_parts_are_listed_before_they_are_imported(package):
    assert {"apple", "tools", "__name__"} <= set(dir(package))
    assert "shop.fruit" not in sys.modules


def test_what_is_not_there(package):
    with pytest.raises(AttributeError, match="module 'shop' has no attribute 'pear'"):
        package.pear  # noqa: B018


@pytest.mark.parametrize(
    "module", [tf_ls, tf_ls.inference, tf_ls.pipelines], ids=lambda m: m.__name__
)
def test_all_that_is_exported_is_there(module):
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None
