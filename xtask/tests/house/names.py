"""Prints the names that the script on standard input uses and nobody defines, a line each."""

import builtins
import symtable
import sys


def undefined(table, known):
    for symbol in table.get_symbols():
        if symbol.is_referenced() and symbol.is_global() and symbol.get_name() not in known:
            yield symbol.get_name()
    for child in table.get_children():
        yield from undefined(child, known)


module = symtable.symtable(sys.stdin.read(), "script", "exec")
own = {symbol.get_name() for symbol in module.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
for name in sorted(set(undefined(module, own | {"__file__", *dir(builtins)}))):
    print(name)
