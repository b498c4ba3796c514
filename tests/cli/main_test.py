import importlib
import subprocess
import sys
import types

import pytest

from kmax_tf.cli import main
from kmax_tf.errors import OutputError
from tests.processes import run_python


@pytest.fixture
def fake_command(monkeypatch):
    """Returns a function that makes `kmax fake` run the given function."""

    def install(run):
        module = types.SimpleNamespace(
            HELP="fake", __doc__="Fake.", add_arguments=lambda parser: None, run=run
        )
        monkeypatch.setitem(sys.modules, "kmax_tf.cli.fake", module)
        monkeypatch.setattr(main, "COMMANDS", ("fake",))

    return install


FULL = OutputError("cannot write x: No space left on device")


def raising(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_its_parts(name):
    module = importlib.import_module(f"kmax_tf.cli.{name.replace('-', '_')}")
    assert module.HELP
    assert "\n" not in module.HELP
    assert module.__doc__.startswith(f"`kmax {name}`")


def test_help_lists_all_commands_without_importing_tensorflow():
    program = (
        "import sys; from kmax_tf.cli.main import main\n"
        "try: main(['--help'])\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    printed = run_python("-c", program).stdout
    assert printed.endswith("\nFalse\n")
    assert all(f"  {name} " in printed or f"  {name}\n" in printed for name in main.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["config"], ["config", "--no"]])
def test_a_wrong_command_line_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(arguments)
    assert caught.value.code == 2
    assert "usage: kmax" in capsys.readouterr().err


def test_a_command_that_is_spelt_wrong_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit):
        main.main(["tran"])
    assert "kmax: error: no command 'tran'; did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize(("script", "command"), [("trainer", "train"), ("evaluator", "evaluate")])
def test_scripts_have_the_flags_of_their_commands(script, command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"some/folder/{script}.py", "--help"])
    with pytest.raises(SystemExit):
        main.run_as_script(command)
    of_script = capsys.readouterr().out
    with pytest.raises(SystemExit):
        main.main([command, "--help"])
    of_command = capsys.readouterr().out
    assert of_script.startswith(f"usage: {script}.py [-h]")
    assert of_script.split("  -h, --help")[1] == of_command.split("  -h, --help")[1]


def test_a_script_ends_as_its_command_does_under_its_own_name(fake_command, capsys, monkeypatch):
    fake_command(raising(FULL))
    monkeypatch.setattr(sys, "argv", ["trainer.py"])
    with pytest.raises(SystemExit) as caught:
        main.run_as_script("fake")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "trainer: error: cannot write x: No space left on device\n"


def test_flags_of_absl_go_with_every_command(fake_command, tmp_path, capsys):
    fake_command(lambda args: 0)
    flags = tmp_path / "flags"
    flags.write_text("--verbosity=-1\n")
    assert main.main(["fake", f"--flagfile={flags}"]) == 0
    assert main.main(["fake", "--verbosity=loud"]) == 2
    assert "loud" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("kmax_tf ")


def test_the_status_is_that_of_the_command(fake_command):
    fake_command(lambda args: 3)
    assert main.main(["fake"]) == 3


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (FULL, 2, "kmax: error: cannot write x: No space left on device\n"),
        (KeyboardInterrupt(), 130, "kmax: interrupted\n"),
    ],
)
def test_what_users_can_mend_is_a_line_without_a_traceback(
    fake_command, capsys, error, status, line
):
    fake_command(raising(error))
    assert main.main(["fake"]) == status
    assert capsys.readouterr().err == line


def test_our_own_mistakes_keep_their_traceback(fake_command):
    fake_command(raising(AssertionError()))
    with pytest.raises(AssertionError):
        main.main(["fake"])


def test_a_reader_that_stops_early_is_no_error():
    command = f"{sys.executable} -m kmax_tf.cli.main config coco/resnet50.textproto | head -n 1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == 'name: "coco_resnet50"\n'
