"""Without a network models come from the cache at once, and a user's own setting stays."""

import os

import pytest

from mmlib import hub


@pytest.fixture
def online(monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    hub.go_offline_if_unreachable.cache_clear()
    asked = []
    monkeypatch.setattr(hub.socket, "create_connection", lambda address, wait: asked.append(address) or refuse())
    yield asked
    hub.go_offline_if_unreachable.cache_clear()
    os.environ.pop("HF_HUB_OFFLINE", None)


def refuse():
    raise OSError("Name or service not known")


def test_an_unreachable_hub_is_said_once_and_not_asked_again(online, capsys):
    hub.go_offline_if_unreachable()
    hub.go_offline_if_unreachable()
    assert os.environ["HF_HUB_OFFLINE"] == "1" and online == [("huggingface.co", 443)]
    assert capsys.readouterr().err.count("huggingface.co cannot be reached (Name or service not known)") == 1


@pytest.mark.parametrize("name, value", [("HF_HUB_OFFLINE", "0"), ("HTTPS_PROXY", "http://proxy:80")])
def test_a_users_setting_and_a_proxy_are_left_alone(online, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    hub.go_offline_if_unreachable()
    assert online == [] and os.environ.get("HF_HUB_OFFLINE") in (None, "0")


def test_a_mirror_is_asked_in_its_place(online, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example:8080/hub")
    hub.go_offline_if_unreachable()
    assert online == [("mirror.example", 8080)]
