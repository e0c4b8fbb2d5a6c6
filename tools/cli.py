"""The ``litewatch`` command: each subcommand's module is imported only when it is called."""

import logging
import os
import sys
import threading
import traceback
from importlib import import_module
from typing import Any

import click

import agent
from agent.errors import InputError, LitewatchError
from tools.console import ReaderGoneError, say

LITEWATCH = (sys.executable, "-c", "from tools.cli import entry; entry()")
"""The command as a fresh process of this interpreter, whether or not it is on the PATH."""

INTERNAL_ERROR = 70
"""Exit status of a defect of ours: EX_SOFTWARE of sysexits.h."""

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("tools.commands.run:run", "Run the agent on this device."),
    "pack": ("tools.commands.pack:pack", "Make a bundle from a .tflite model."),
    "inspect": ("tools.commands.inspect:inspect", "Show and verify a bundle."),
    "check": ("tools.commands.check:check", "Climb the accuracy ladder on this hardware."),
    "diagnose": ("tools.commands.diagnose:diagnose", "Say what each differing factor costs."),
    "preprocess": ("tools.commands.preprocess:preprocess", "Find the preprocessing of a model."),
    "schemes": ("tools.commands.schemes:schemes", "Compare quantization schemes."),
    "show": ("tools.commands.show:show", "Show a saved result, as table or HTML."),
    "doctor": ("tools.commands.doctor:doctor", "Find what is wrong with this machine."),
    "config": ("tools.commands.config:config", "Validate agent.yaml, or print its JSON Schema."),
    "command": ("tools.commands.command:command", "Tell a running agent what to do."),
    "label": ("tools.commands.label:label", "Send labels that arrived later."),
    "collect": ("tools.commands.collect:collect", "Collect the fleet's telemetry."),
    "report": ("tools.commands.report:report", "Show the fleet."),
    "demo": ("tools.commands.demo:demo", "Four devices, one broker, and what went wrong."),
    "bench": ("tools.commands.bench:bench", "Measure the agent against its peers."),
}


class LazyGroup(click.Group):
    """Lists the commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(agent.__version__, prog_name="litewatch")
def cli() -> None:
    """Say why a .tflite model is less accurate on the device than in training."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; every error Litewatch foresees becomes a message and an exit code."""
    try:
        return cli.main(args=arguments, prog_name="litewatch", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except ReaderGoneError:
        # Whoever read our output has left; what Python still holds of it must not be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except LitewatchError as error:
        problems = error.problems if isinstance(error, InputError) else (str(error),)
        for problem in problems:
            click.secho("error: ", fg="red", nl=False, err=True)
            say(problem)
        return error.exit_code
    except Exception:  # the last resort: a defect of ours is neither a verdict nor wrong usage
        say(traceback.format_exc())
        click.secho("internal error: ", fg="red", nl=False, err=True)
        say("this is a defect of Litewatch; the lines above say where")
        return INTERNAL_ERROR


def entry() -> None:
    code = main()
    if any(thread.daemon for thread in threading.enumerate()):
        # A thread that is still inside OpenCV or numpy (a hung camera, thresholds in the making) would
        # take the interpreter's own shutdown for an error in C++ and abort the process.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
