#!/usr/bin/env python3
"""A keros plugin that keeps a Markdown report of the run up to date, and stops a run that no longer improves.

It speaks the wire format of docs/wire-format.md on stdin and stdout and needs nothing but Python 3.8 or later.
README.md tells how it is configured.
"""

import base64
import json
import math
import os
import sys
import time

FIELDS = {"path": None, "monitor": "val_loss", "mode": "auto", "patience": None}


class Refused(Exception):
    """Something cannot be done; its text is told to the user."""


def configuration(text):
    """The configuration, checked."""
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise Refused(f"config: {error}")
    if not isinstance(given, dict):
        raise Refused("config: expected an object")
    for name in given:
        if name not in FIELDS:
            raise Refused(f"config field `{name}`: expected one of {', '.join(FIELDS)}")
    config = {**FIELDS, **given}
    if not isinstance(config["path"], str) or not config["path"]:
        raise Refused("config field `path`: expected the path of the report")
    if not isinstance(config["monitor"], str):
        raise Refused("config field `monitor`: expected the name of a log")
    if config["mode"] not in ("auto", "min", "max"):
        raise Refused("config field `mode`: expected auto, min or max")
    patience = config["patience"]
    if patience is not None and (type(patience) is not int or patience < 1):
        raise Refused("config field `patience`: expected a number of epochs from 1 on")
    if config["mode"] == "auto":
        name = config["monitor"].lower()
        rises = any(word in name for word in ("acc", "auc", "precision", "recall", "f1", "iou"))
        config["mode"] = "max" if rises else "min"
    return config


def number(value):
    """A log value as a number; None if it is a flag or a text."""
    if isinstance(value, str):
        return float(value.replace("Infinity", "inf"))
    return None if isinstance(value, (bool, dict)) else value


def shown(value):
    """A log value as a cell of the table."""
    if value is None:
        return ""
    if isinstance(value, dict):
        return value.get("text", "").replace("|", "\\|").replace("\n", " ")
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class Report:
    """What has happened in the run, and its page."""

    def __init__(self, config):
        self.config = config
        self.info = {}
        self.begin = None
        self.forget()

    def forget(self):
        self.rows = []
        self.best = None
        self.best_epoch = None
        self.waited = 0
        self.missed = False

    def handle(self, event):
        """The decision, and what is said to the user."""
        self.info = event.get("run", self.info)
        said = []
        decision = {}
        if event["kind"] == "train_begin":
            self.forget()
            self.begin = time.time()
            self.write("running")
        elif event["kind"] == "epoch_end":
            reason = self.epoch(event, said)
            if reason:
                decision["stop"] = reason
            self.write(f"stopping: {reason}" if reason else "running")
        elif event["kind"] == "train_end":
            self.write("finished")
        elif event["kind"] == "error":
            self.write(f"ended by an error: {event.get('detail', '')}")
        return decision, said

    def epoch(self, event, said):
        """Notes an epoch; gives a reason to stop if there is one."""
        logs = event["logs"]
        self.rows.append({"epoch": event["epoch"], "logs": logs, "rate": event["learning_rate"]})
        monitor = self.config["monitor"]
        value = number(logs[monitor]) if monitor in logs else None
        if value is None:
            # An epoch without validation has no `val_` logs.
            if not self.missed:
                said.append(("warning", f"no number `{monitor}` in epoch {event['epoch'] + 1}"))
            self.missed = True
            return None
        sign = 1 if self.config["mode"] == "min" else -1
        if not math.isnan(value) and (self.best is None or sign * value < sign * self.best):
            self.best, self.best_epoch, self.waited = value, event["epoch"], 0
            return None
        self.waited += 1
        patience = self.config["patience"]
        if patience is not None and self.waited >= patience:
            return f"{monitor} has not improved for {self.waited} epochs"
        return None

    def page(self, status):
        names = []
        for row in self.rows:
            names += [name for name in row["logs"] if name not in names]
        lines = ["# Training report", "", f"- Status: {status}"]
        if self.begin is not None:
            begin = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.begin))
            lines.append(f"- Begun: {begin}, {time.time() - self.begin:.0f} s ago")
        lines.append(f"- Epochs: {len(self.rows)} done, the last would be {self.info.get('epochs', '?')}")
        if self.best_epoch is not None:
            best = f"{self.best:.4g} in epoch {self.best_epoch + 1}"
            lines.append(f"- Best `{self.config['monitor']}`: {best}")
        heads = ["epoch", *names, "learning rate"]
        lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for row in self.rows:
            cells = [str(row["epoch"] + 1)]
            cells += [shown(row["logs"].get(name)) for name in names]
            cells.append(shown(row["rate"]))
            best = row["epoch"] == self.best_epoch
            lines.append("| " + " | ".join(f"**{cell}**" if best and cell else cell for cell in cells) + " |")
        return "\n".join(lines) + "\n"

    def write(self, status):
        """Writes the page whole, or not at all."""
        path = self.config["path"]
        beside = f"{path}.{os.getpid()}.new"
        try:
            with open(beside, "w", encoding="utf-8", newline="\n") as file:
                file.write(self.page(status))
            os.replace(beside, path)
        except OSError as error:
            raise Refused(f"writing {path}: {error.strerror}")

    KEPT = ("rows", "best", "best_epoch", "waited", "missed")

    def save_state(self):
        return json.dumps({name: getattr(self, name) for name in self.KEPT}).encode()

    def load_state(self, state):
        try:
            kept = json.loads(state)
            for name in self.KEPT:
                setattr(self, name, kept[name])
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"expected a state of this plugin: {error}")


def say(type, **fields):
    """Sends a message to the host."""
    sys.stdout.write(json.dumps({"type": type, **fields}, allow_nan=False) + "\n")
    sys.stdout.flush()


def main():
    # The format is UTF-8, whatever the locale.
    sys.stdin.reconfigure(encoding="utf-8", newline="\n")
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    report = None
    for line in sys.stdin:
        message = json.loads(line)
        try:
            if message["type"] == "create":
                if message["wire"]["major"] != 1:
                    raise Refused("expected wire format 1")
                report = Report(configuration(message["config"]))
                say(
                    "hello",
                    wire={"major": 1, "minor": 0},
                    id="report",
                    version="1.0.0",
                    events=["train_begin", "epoch_end", "train_end", "error"],
                    logs=["epoch_end"],
                    state=True,
                )
            elif message["type"] == "event":
                decision, said = report.handle(message)
                for level, text in said:
                    say("message", level=level, text=text)
                say("decision", **decision)
            elif message["type"] == "save_state":
                say("state", state=base64.b64encode(report.save_state()).decode())
            elif message["type"] == "load_state":
                report.load_state(base64.b64decode(message["state"]))
                say("loaded")
            elif message["type"] == "bye":
                return
        except Refused as refused:
            say("failed", text=str(refused))
            if report is None:
                sys.exit(1)


if __name__ == "__main__":
    main()
