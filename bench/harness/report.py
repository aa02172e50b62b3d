# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Tables on standard output, from records of rows."""

COLUMNS = ("%-42s", "%10s", "%10s", "%10s", "%10s", "%8s", "%8s", " %s")
HEADS = ("", "ours", "p99", "floor", "p99", "ratio", "target", "")


def number(value):
    if value is None:
        return ""
    if abs(value) >= 100:
        return "%.0f" % value
    return "%.1f" % value if abs(value) >= 1 else "%.3f" % value


def line(cells, columns=COLUMNS):
    return "".join(column % cell for column, cell in zip(columns, cells)).rstrip()


def target(record):
    if record["target"] is None:
        return ""
    sign = "<" if record["better"] == "lower" else ">"
    return "%s %.3g%s" % (sign, record["target"], "x" if record["floor_is"] else "")


def remark(record):
    disturbed = "%d of %d blocks disturbed" % (record["disturbed"], record["blocks"]) if record["disturbed"] else ""
    return ", ".join(filter(None, [record["verdict"], disturbed]))


def row_line(record):
    ours, floor = record["ours"] or {}, record["floor"] or {}
    ratio = "" if record["ratio"] is None else "%.2f" % record["ratio"]
    return line(("%s (%s)" % (record["row"], record["unit"]), number(ours.get("median")), number(ours.get("p99")),
                 number(floor.get("median")), number(floor.get("p99")), ratio, target(record), remark(record)))


def print_settings(settings):
    for name, value in settings.items():
        print("%-12s %s" % (name.replace("_", " "), value))


def print_table(records, other="floor"):
    """`other`: what ours is measured beside."""
    print("\n" + line([other if head == "floor" else head for head in HEADS]))
    for record in records:
        print(row_line(record))
    print("\nMedians. p99: 99 of 100 samples were not worse. Ratio: ours to the %s; for rates more is better.\n"
          "Disturbed: other programs wanted the CPUs just before or after the block." % other)
    for text in dict.fromkeys(record["floor_is"] for record in records if record["floor_is"]):
        keys = ", ".join(record["key"] for record in records if record["floor_is"] == text)
        print("%s of %s: %s." % (other.capitalize(), keys, text))


def print_comparison(names, left, right):
    """Two results side by side: ratios to the floor where there are some, else values."""
    columns = ("%-42s",) + ("%12s",) * 6
    print(line(("", names[0], names[1], "change", names[0] + " x", names[1] + " x", "change"), columns))
    others = {record["key"]: record for record in right}
    for record in left:
        other = others.get(record["key"])
        if other and record["ours"] and other["ours"]:
            cells = ["%s (%s)" % (record["row"], record["unit"])]
            cells += pair(record["ours"]["median"], other["ours"]["median"])
            cells += pair(record["ratio"], other["ratio"])
            print(line(cells, columns))
    for key in sorted({record["key"] for record in left} ^ set(others)):
        print("only in one of the two: %s" % key)


def pair(left, right):
    if not left or right is None:
        return ["", "", ""]
    return [number(left), number(right), "%+.0f %%" % (100 * (right / left - 1))]
