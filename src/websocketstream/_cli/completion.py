"""The command ``completion``: scripts with which a shell completes commands and options, made from the parsers themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .exit_codes import ExitCode
from .parsing import COMMANDS, NAMES, Parser, command_module

SHELLS = ("bash", "zsh", "fish")

_DESCRIPTION = """\
Print a script that completes commands and options.

  bash   source <(%(prog)s bash)                in ~/.bashrc
  zsh    source <(%(prog)s zsh)                 in ~/.zshrc, behind compinit
  fish   %(prog)s fish > ~/.config/fish/completions/websocketstream.fish
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("completion", help=COMMANDS["completion"], description=_DESCRIPTION)
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=run)


async def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(script(arguments.shell, dict(described())), end="")
    return ExitCode.OK


@dataclass(frozen=True, slots=True)
class Option:
    """An option, or one of its spellings; ``choices`` are the words that may follow it, None where nothing does."""

    flags: tuple[str, ...]
    help: str
    choices: tuple[str, ...] | None


def described() -> Iterator[tuple[str, list[Option]]]:
    """Yield the commands and their options; the command without a name is ``""``."""
    from .connect import make_parser

    yield "", list(_options(make_parser(NAMES[0])))
    parser = Parser(prog=NAMES[0])
    commands = parser.add_subparsers(parser_class=Parser)
    for name in COMMANDS:
        command_module(name).add_parser(commands)
        yield name, list(_options(commands.choices[name]))


def _options(parser: Parser) -> Iterator[Option]:
    for action in parser.actions:
        if action.help == argparse.SUPPRESS:
            continue
        takes_value = action.nargs != 0
        words = tuple(map(str, action.choices or ())) if takes_value else None
        yield Option(
            tuple(action.option_strings), (action.help or "") % {"prog": parser.prog, **vars(action)}, words
        )


def script(shell: str, commands: dict[str, list[Option]]) -> str:
    """Return the script of a shell.

    :param commands: the options of each command; that without a name is ``""``
    """
    lines = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)
    return "\n".join(lines) + "\n"


def _words(options: list[Option]) -> str:
    """Return what may be typed for a command: its options, and the words of its positional arguments."""
    found = [flag for option in options for flag in option.flags]
    found += [word for option in options if not option.flags for word in option.choices or ()]
    return " ".join(found)


def _valued(options: list[Option]) -> Iterator[Option]:
    return (option for option in options if option.flags and option.choices is not None)


def _bash(commands: dict[str, list[Option]]) -> Iterator[str]:
    # For bash 3.2, too, which macOS has.
    names = " ".join(filter(None, commands))
    yield "_websocketstream() {"
    yield '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" command="" words=""'
    yield f'    case "${{COMP_WORDS[1]}}" in {names.replace(" ", "|")}) command="${{COMP_WORDS[1]}}";; esac'
    yield '    [ "$COMP_CWORD" = 1 ] && command=""'
    yield '    case "$command $prev" in'
    for name, options in commands.items():
        for option in _valued(options):
            patterns = "|".join(f'"{name} {flag}"' for flag in option.flags)
            yield f"        {patterns})"
            if option.choices:
                yield f'            COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur"));;'
            else:
                yield "            local IFS=$'\\n'"
                yield '            COMPREPLY=($(compgen -f -- "$cur"));;'
    yield "        *)"
    yield '            case "$command" in'
    for name, options in commands.items():
        yield f"                '{name}') words=\"{_words(options)}\";;"
    yield "            esac"
    yield f'            [ "$COMP_CWORD" = 1 ] && words="{names} $words"'
    yield '            COMPREPLY=($(compgen -W "$words" -- "$cur"));;'
    yield "    esac"
    yield "}"
    yield f"complete -F _websocketstream {' '.join(NAMES)}"


def _zsh(commands: dict[str, list[Option]]) -> Iterator[str]:
    yield f"#compdef {' '.join(NAMES)}"
    yield "_websocketstream() {"
    yield "    local -a options names"
    yield f"    names=({' '.join(_quoted(f'{name}:{COMMANDS[name]}') for name in commands if name)})"
    yield '    case "${words[2]}" in'
    for name, options in commands.items():
        if name:
            yield f"        {name}) options=({_zsh_specs(options)});;"
    yield f"        *) options=({_zsh_specs(commands[''])});;"
    yield "    esac"
    yield "    if (( CURRENT == 2 )); then _describe command names; fi"
    yield "    _arguments -S : $options '*:argument:_files'"
    yield "}"
    yield f"compdef _websocketstream {' '.join(NAMES)}"


def _zsh_specs(options: list[Option]) -> str:
    specs = []
    for option in options:
        value = ""
        if option.choices is not None:
            value = f":value:({' '.join(option.choices)})" if option.choices else ":value:_files"
        text = option.help.replace("\\", "").replace("[", "(").replace("]", ")").replace(":", " -")
        specs += [_quoted(f"*{flag}[{text}]{value}") for flag in option.flags]
    return " ".join(specs)


def _fish(commands: dict[str, list[Option]]) -> Iterator[str]:
    names = " ".join(name for name in commands if name)
    for program in NAMES:
        for name in filter(None, commands):
            yield f"complete -c {program} -n __fish_use_subcommand -f -a {name} -d {_quoted(COMMANDS[name])}"
        for name, options in commands.items():
            test = (
                f"__fish_seen_subcommand_from {name}" if name else f"not __fish_seen_subcommand_from {names}"
            )
            for option in filter(lambda each: each.flags, options):
                flags = " ".join(
                    f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
                )
                value = "" if option.choices is None else " -r"
                words = f" -f -a {_quoted(' '.join(option.choices))}" if option.choices else ""
                yield f"complete -c {program} -n {_quoted(test)} {flags}{value}{words} -d {_quoted(option.help)}"


def _quoted(text: str) -> str:
    """Quote for all three shells: what stands between apostrophes is taken as it is, but for backslashes in fish."""
    return "'" + text.replace("\\", "").replace("'", "'\\''") + "'"
