"""The tables of `accuracy.py`: a row for each input, a column for each peer."""


def _error(value):
    if isinstance(value, str):
        return "not finite" if value == "not finite" else "–"
    return "0" if value == 0 else f"{value:.1e}"


def header(result):
    """Return a table's head."""
    return ("input", "type", "rounding alone", *(result["labels"][name] for name in _ran(result)))


def _ran(result):
    return [name for name in result["labels"] if name not in result["absent"]]


def rows(result, function):
    """Return a table's rows."""
    return [
        (
            case["input"],
            case["dtype"],
            _error(case["rounding"]),
            *(_error(case["errors"][name]) for name in _ran(result)),
        )
        for case in result["cases"]
        if case["function"] == function
    ]


def title(result, function):
    """Return a table's heading."""
    return f"{function}, {'×'.join(map(str, result['shapes'][function]))}"


def notes(result):
    """Return the lines under the tables."""
    found = [
        f"Largest absolute error against float64, standard deviation 1, epsilon {result['epsilon']:g}; *rounding "
        "alone*: the float64 result rounded to the type. A constant input must come out as beta: 0 is exact."
    ]
    found += [f"{result['labels'].get(name, name)}: {reason}." for name, reason in result["absent"].items()]
    seen = {}
    for case in result["cases"]:
        for name, value in case["errors"].items():
            if isinstance(value, str) and value != "not finite":
                seen.setdefault(f"{result['labels'][name]}: {value}", []).append(f"{case['function']} {case['dtype']}")
    return found + [f"{what} ({', '.join(dict.fromkeys(where))})." for what, where in seen.items()]


def print_tables(console, result):
    """Show all tables on the terminal."""
    from rich import box
    from rich.table import Table

    for function in result["shapes"]:
        table = Table(title=title(result, function), box=box.SIMPLE)
        for i, name in enumerate(header(result)):
            table.add_column(name, justify="left" if i < 2 else "right")
        for line in rows(result, function):
            table.add_row(*line)
        console.print(table)
    console.print(*notes(result), sep="\n", highlight=False)


def markdown(result, grid):
    """Return the tables as parts of a Markdown text; `grid(header, rows, left)` draws one."""
    parts = []
    for function in result["shapes"]:
        parts += [f"**{title(result, function)}**", grid(header(result), rows(result, function), left=2)]
    return [*parts, "\n".join(f"- {note}" for note in notes(result))]
