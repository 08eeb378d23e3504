"""Completion for bash and zsh: a script that holds all words, so that a tab costs nothing and asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from robustsnn.names import find


@dataclass(frozen=True)
class Follows:
    """What may follow a command.

    Arguments:
        words, files: what its first argument may be: words; folders and files with one of these endings.
        flags: what may come later.
        where: the shell pattern of first arguments for which this holds.
        many: further arguments are like the first.
    """

    words: Sequence[str] = ()
    files: Sequence[str] = ()
    flags: Iterable[str] = ()
    where: str = "*"
    many: bool = False


BASH = """
_robustsnn() {
  local offers= files= ending= line= cut=
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} place=$COMP_CWORD
  if [[ ${COMP_WORDS[3]-} == : && $place -le 4 ]]; then  # bash cuts RECIPE:BASELINE at the colon
    word=${COMP_WORDS[2]}:${word#:} before=${COMP_WORDS[1]} place=2 cut=${COMP_WORDS[2]}:
  fi
  _robustsnn_offers "${COMP_WORDS[1]}" "${COMP_WORDS[2]-}" "$before" "$word" "$place"
  COMPREPLY=()
  local IFS=$' \\t\\n'
  while IFS= read -r line; do COMPREPLY+=("${line#"$cut"}"); done < <(compgen -W "$offers" -- "$word")
  [[ $files ]] || return 0
  compopt -o filenames 2>/dev/null
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -d -- "$word")
  for ending in $files; do
    while IFS= read -r line; do [[ -d $line ]] || COMPREPLY+=("$line"); done < <(compgen -f -X "!*$ending" -- "$word")
  done
}
complete -F _robustsnn robustsnn
"""

ZSH = """
_robustsnn() {
  local offers= files=
  _robustsnn_offers "$words[2]" "$words[3]" "$words[CURRENT-1]" "$PREFIX" $((CURRENT - 1))
  [[ -n $offers ]] && compadd -- ${=offers}
  case $files in
    '') ;;
    /) _files -/ ;;
    *) _files -g "*(${files// /|})(-.)" ;;
  esac
}
if [[ ${funcstack[1]} == _robustsnn ]]; then _robustsnn "$@"; else compdef _robustsnn robustsnn; fi
"""

SHELLS: dict[str, tuple[str, str]] = {"bash": ("# bash completion of robustsnn", BASH), "zsh": ("#compdef robustsnn", ZSH)}
"""How a script begins and ends."""


def script(
    shell: str,
    commands: Mapping[str, Sequence[Follows]],
    values: Mapping[str, Sequence[str]],
    files: Mapping[str, Sequence[str]],
    parts: Sequence[str],
) -> str:
    """The script for a shell.

    Arguments:
        shell: ``bash`` or ``zsh``.
        commands: what follows each of them; of several cases the first that fits holds.
        values, files: the words, or the endings of files (``"/"``: folders alone), that may follow a flag.
        parts: what a first argument with a colon may be.

    Raises:
        ValueError: another shell.
    """
    head, tail = find("shell", SHELLS, shell)
    cases = [(name, case) for name, several in commands.items() for case in several]
    first = [
        (f"{'*' if case.many else '2'}:{name}", f"offers={_list(case.words)} files={_list(case.files)}; return")
        for name, case in cases
        if case.words or case.files
    ]
    later = [(f"{quote(name + ' ')}{case.where}", f"offers={_list(case.flags)}") for name, case in cases]
    follow = [(flag, f"offers={_list(words)}; return") for flag, words in values.items()]
    follow += [(flag, f"files={_list(endings)}; return") for flag, endings in files.items()]
    lines = [
        head,
        "_robustsnn_offers() {  # command, its first argument, the word before, the word itself, its place",
        f"  case $5 in 1) offers={_list(commands)}; return ;; esac",
        "  case $4 in",
        "    -*) ;;",
        f"    *:*) offers={_list(parts)}; return ;;",
        "    *) case $3 in",
        *_cases(follow),
        "      --no-*|--*.no-*) ;;",
        "      -*) return ;;",
        "      *) case $5:$1 in",
        *_cases(first),
        "      esac ;;",
        "    esac ;;",
        "  esac",
        '  case "$1 $2" in',
        *_cases(sorted(later, key=lambda pair: pair[0].endswith(" '*"))),
        "  esac",
        "}",
    ]
    return "\n".join(lines) + tail


def _cases(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of a ``case``: patterns, those together that lead to the same."""
    together: dict[str, list[str]] = {}
    for pattern, then in pairs:
        together.setdefault(then, []).append(pattern)
    return [f"      {'|'.join(patterns)}) {then} ;;" for then, patterns in together.items()]


def _list(words: Iterable[str]) -> str:
    return quote(" ".join(word for word in words if " " not in word))
