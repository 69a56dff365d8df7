"""Draws docs/images/architecture.svg from the imports of the code: `make picture`. A box is a room (a folder, or a
module on the top level of its app), its height follows its lines; an arrow goes from an app to one it imports, labelled
with the number of modules that do so."""

from collections import Counter
from html import escape

from project.tests import structure

WIDTH, GAP, ROOM = 1180, 24, 30
COLOURS = {
    "project": "#7c6f9f",
    "users": "#3f7cac",
    "feature_flags": "#5a9367",
    "notifications": "#c07f3f",
    "lib": "#777777",
}
SMALL = 60  # lines; modules under it share one box


def rooms(package):
    """`[(name, lines, modules)]` of an app, the largest first."""
    lines, modules = Counter(), Counter()
    for name, path in structure.files().items():
        parts = name.split(".")
        if parts[0] == package and (size := path.read_text().count("\n")):
            is_folder = len(parts) > 2 or (path.name == "__init__.py" and len(parts) == 2)
            room = f"{parts[1]}/" if is_folder else f"{parts[1]}.py" if len(parts) == 2 else "__init__.py"
            lines[room] += size
            modules[room] += 1
    small = [room for room in lines if lines[room] < SMALL and not room.endswith("/")]
    shown = [(room, lines[room], modules[room]) for room in lines if room not in small]
    if small:
        shown.append((f"{len(small)} small modules", sum(lines[room] for room in small), len(small)))
    return sorted(shown, key=lambda room: -room[1])


def arrows():
    """`{(from, to): how many modules of `from` import one of `to`}` between apps."""
    found = Counter()
    for module, others in structure.graph().items():
        package = module.partition(".")[0]
        for other in {name.partition(".")[0] for name in others} - {package}:
            found[package, other] += 1
    return found


def text(x, y, words, size=13, colour="#222", weight="normal", anchor="start"):
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def app_box(package, x, y, width):
    """The shapes of an app's box, and its height."""
    columns, found = max(2, int(width // 200)), rooms(package)
    cell = (width - 2 * 14 - (columns - 1) * 10) / columns
    total, height = sum(lines for _, lines, _ in found), 44 + -(-len(found) // columns) * (ROOM + 18)
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="9" fill="{COLOURS[package]}"'
    shapes = [
        f'{frame} fill-opacity="0.16" stroke="{COLOURS[package]}"/>',
        text(x + 14, y + 26, package, 17, COLOURS[package], "bold"),
        text(x + width - 14, y + 26, f"{total:,} lines", 12, "#666", anchor="end"),
    ]
    for number, (name, lines, modules) in enumerate(found):
        left, top = x + 14 + number % columns * (cell + 10), y + 40 + number // columns * (ROOM + 18)
        share = max(6.0, cell * lines / max(size for _, size, _ in found))
        words = f"{lines:,} lines" + (f" in {modules} modules" if modules > 1 else "")
        bar = f'<rect x="{left:.0f}" y="{top + ROOM + 5}" width="{share:.0f}" height="5" rx="2"'
        shapes += [
            f'<rect x="{left:.0f}" y="{top}" width="{cell:.0f}" height="{ROOM + 10}" rx="5" fill="#fff"/>',
            f'{bar} fill="{COLOURS[package]}"/>',
            text(f"{left + 8:.0f}", top + 17, name, weight="bold"),
            text(f"{left + 8:.0f}", top + 31, words, 11, "#666"),
        ]
    return shapes, height


def draw():
    shapes, boxes, y = [], {}, GAP
    for floor in reversed(structure.FLOORS):
        width = (WIDTH - GAP * (len(floor) + 1)) // len(floor)
        for number, package in enumerate(floor):
            x = GAP + number * (width + GAP)
            drawn, height = app_box(package, x, y, width)
            shapes += drawn
            boxes[package] = (x, y, width, height)
        y += max(boxes[package][3] for package in floor) + 46
    starts = Counter()
    for (source, target), count in sorted(arrows().items()):
        x, top, width, height = boxes[source]
        tx, ttop, twidth, _ = boxes[target]
        starts[source] += 1
        leaves, bottom = x + width * starts[source] / 5, top + height
        lands = min(max(leaves, tx + 30), tx + twidth - 30)
        if ttop - bottom > 60:  # past the floor between, in the gap beside it
            side = GAP / 2 if source == "project" else WIDTH / 2
            if source == "project" and target == "notifications":
                side = WIDTH - GAP / 2
            route = f"M{leaves:.0f},{bottom} V{bottom + 14} H{side:.0f} V{ttop - 22} H{lands:.0f} V{ttop - 4}"
        else:
            route = f"M{leaves:.0f},{bottom} V{bottom + 22} H{lands:.0f} V{ttop - 4}"
        arrow = f'stroke="{COLOURS[source]}" stroke-width="1.6" marker-end="url(#head)"'
        shapes += [
            f'<path d="{route}" fill="none" {arrow}/>',
            text(f"{leaves + 4:.0f}", bottom + 12, f"{count} → {target}", 10.5, COLOURS[source]),
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - 20}" font-family="system-ui, sans-serif">'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs><rect width="100%" height="100%" fill="#fdfdfb"/>'
        f"{''.join(shapes)}</svg>\n"
    )


if __name__ == "__main__":
    target = structure.ROOT / "docs" / "images" / "architecture.svg"
    target.write_text(draw())
