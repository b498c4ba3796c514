"""`kmax serve`: what it can't do is told before it serves."""

from __future__ import annotations

import socket
import sys

import pytest

from kmax_tf.cli.main import main


def test_a_folder_without_a_model_is_a_sentence(tmp_path, capsys):
    assert main(["serve", f"--model={tmp_path}", "--port=0"]) == 2
    assert "holds no exported model: expected saved_model.pb" in capsys.readouterr().err


def test_an_address_that_is_taken_is_a_sentence(tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", f"--model={tmp_path}", f"--port={port}"]) == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err
    assert main(["serve", f"--model={tmp_path}", "--host=no such host"]) == 2
    assert "cannot listen on no such host:8501" in capsys.readouterr().err


def test_what_is_not_installed_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "kmax_tf.serving.server", raising=False)
    assert main(["serve", f"--model={tmp_path}"]) == 2
    told = "the server needs uvicorn, which isn't installed; pip install 'kmax-tf[serve]'"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--most-queue=0", "--most-seconds=inf", "--most-body=many"])
def test_limits_are_numbers_above_zero(option, capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--model=any", option])
    assert "is to be a number above 0" in capsys.readouterr().err
