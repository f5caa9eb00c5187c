"""The tables of `benchmark day`, as Markdown for a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Found = Mapping[str, Any]


def markdown(parts: Mapping[str, Found]) -> str:
    """What was measured, what is wrong, what is missing.

    Args:
        parts: name -> what `day.measure` returned.
    """
    return "\n".join([*_head(parts), *_steps(parts), *_others(parts), *_missing(parts)]) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def _results(parts: Mapping[str, Found], kind: str) -> Iterator[tuple[str, Found]]:
    """Name and result of the parts of one subcommand that were measured."""
    for name, part in parts.items():
        if "result" in part and part["arguments"][0] == kind:
            yield name, part["result"]


def _head(parts: Mapping[str, Found]) -> list[str]:
    machines = [p["result"]["machine"] for p in parts.values() if "machine" in p.get("result", {})]
    facts = {name: value for machine in machines for name, value in machine.items()}
    said = ", ".join(f"{name} {value}" for name, value in facts.items() if name != "load" and value)
    return [f"Measured on: {said}.", ""] if said else []


def _steps(parts: Mapping[str, Found]) -> list[str]:
    rows = []
    for kind in ("step", "distill"):
        for _, result in _results(parts, kind):
            settings = result["settings"]
            for each in result["results"]:
                rows.append(
                    (
                        each["name"],
                        settings["dtype"],
                        str(settings["batch"]),
                        f"{1000 * each['median_wall_seconds']:.2f}",
                        f"{each['clips_per_second']:.0f}",
                        f"{each['ratio']:.2f}",
                        f"{each['warm_up_seconds']:.0f}",
                    )
                )
    header = ("a training step", "precision", "clips", "ms", "clips/s", "to the first", "compile s")
    return _table(header, rows) if rows else []


def _others(parts: Mapping[str, Found]) -> list[str]:
    lines = []
    for _, result in _results(parts, "train"):
        rows = []
        for each in result["results"]:
            peak = next(value for name, value in each.items() if name.endswith("_peak_gb"))
            mfu = "–" if each["mfu"] is None else f"{each['mfu']:.1%}"
            rate = f"{each['clips_per_second_per_device']:.0f}"
            wait, save = f"{each['data_wait']:.1%}", f"{1000 * each['save_seconds']:.0f}"
            rows.append((each["run"], rate, wait, mfu, f"{peak:.2f}", save))
        header = ("a training", "clips/s/device", "wait", "MFU", "GB", "save ms")
        lines += _table(header, rows)
    for kind, title in (("input", "reading"), ("predict", "a night")):
        for _, result in _results(parts, kind):
            rates = ("clips_per_second", "clips_per_cpu_second")
            rows = [
                (each["name"], *(f"{each[rate]:.0f}" for rate in rates))
                for each in result["results"]
            ]
            lines += _table((title, "clips/s", "clips/CPU s"), rows)
    demo = parts.get("demo", {})
    if "result" in demo:
        rows = [(name, f"{value:.1%}") for name, value in demo["result"]["accuracy"].items()]
        lines += [f"The demo, from nothing to its report: {demo['seconds']:.0f} s.", ""]
        lines += _table(("", "accuracy"), rows)
    for _, result in _results(parts, "check"):
        wrong = [each for each in result["results"] if not each["right"]]
        lines += [f"{len(result['results'])} checks of computing, {len(wrong)} wrong.", ""]
        if wrong:
            rows = [(e["name"], f"{e['error']:.1e}", f"{e['limit']:.0e}") for e in wrong]
            lines += _table(("wrong", "relative error", "limit"), rows)
    for name in ("golden", "resume"):
        if "result" in parts.get(name, {}):
            lines += [f"{name}: {parts[name]['result']['said']}", ""]
    return lines


def _missing(parts: Mapping[str, Found]) -> list[str]:
    return [f"- {name}: {part['error']}" for name, part in parts.items() if "error" in part]
