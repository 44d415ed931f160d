"""Extension of griffe that turns the roles of docstrings, such as :func:`name`, into links that the site checks."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Optional

import griffe

ROLE = re.compile(r":(?:mod|class|func|meth|data|attr):`(~?)([\w.]+)`")


class Roles(griffe.Extension):
    """Rewrites all docstrings of a package once it is loaded.

    A name is searched in the class, then in the module (also among its imports), then taken as a full path. Objects
    without a docstring have no place on the site and are not linked; a name that does not exist stays a link, which
    strict mode reports.
    """

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite the docstrings of a package."""
        waiting: list[Any] = [pkg]
        while waiting:
            obj = waiting.pop()
            if obj.docstring is not None:
                obj.docstring.value = ROLE.sub(partial(_link, obj), obj.docstring.value)
            waiting += [member for member in obj.members.values() if not member.is_alias]


def _link(obj: Any, match: re.Match[str]) -> str:
    short, name = match.groups()
    text = name.rpartition(".")[2] if short else name
    target = _find(name, obj)
    if target is None:
        return f"[`{text}`][{name}]"
    return f"[`{text}`][{target.path}]" if target.docstring is not None or target.is_module else f"`{text}`"


def _find(name: str, obj: Any) -> Optional[Any]:
    scopes = [scope for scope in (obj, obj.parent, obj.module) if scope is not None and scope.kind.value != "function"]
    for scope in [*scopes, obj.package]:
        path = name.removeprefix("langsamp_plugin.") if scope is obj.package else name
        try:
            found = scope[path]
        except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
            continue
        return found.final_target if found.is_alias else found
    return None
