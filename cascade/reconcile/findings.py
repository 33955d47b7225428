"""What a joining report found, for people to read: blockers, warnings, notes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Findings:
    """Rows in the order found."""

    def __init__(self, trial: str = "", name: str = "") -> None:
        """``trial``: the target name during the examination, shown as ``name``."""
        self.rows: list[dict[str, str]] = []
        self._trial, self._name = trial, name

    @property
    def may_join(self) -> bool:
        return all(r["severity"] != "blocker" for r in self.rows)

    def stop(self, code: str, message: str) -> None:
        """The site cannot join like this."""
        self._add("blocker", code, message)

    def warn(self, code: str, message: str) -> None:
        """Something will not work at this site."""
        self._add("warning", code, message)

    def note(self, code: str, message: str) -> None:
        """Good to know."""
        self._add("note", code, message)

    def _add(self, severity: str, code: str, message: str) -> None:
        self.rows.append({"severity": severity, "code": code, "message": self.plain(message)})

    def plain(self, text: str) -> str:
        """Without the name only this examination uses."""
        return text.replace(self._trial, self._name) if self._trial else text


def judge_window(window: Mapping[str, Any], lower: bool, out: Findings) -> None:
    """A smaller window for everybody needs the operator's consent (``lower``); an empty one is never right."""
    service, then, now = window["service"], window["then"], window["now"]
    if then is None:
        out.stop("window", f"No {service} microversion is common to this site and the cloud.")
    elif window["shrinks"]:
        text = f"The cloud's {service} microversions would shrink from {now[0]}-{now[1]} to {then[0]}-{then[1]}."
        if lower:
            out.warn("window", text)
        else:
            out.stop("window", f"{text} Consent with allow_lower_window.")
