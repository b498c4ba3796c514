"""How a report looks, and the few lines of script that sort its table."""

from __future__ import annotations

STYLE = """
:root { --ink: #23262b; --soft: #6b7280; --line: #e3e6ea; --paper: #fff; --back: #f5f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; margin: 0; }
h2 { font-size: 19px; margin: 0 0 4px; }
p { margin: 0 0 12px; color: var(--soft); max-width: 75ch; }
nav { margin: 10px 0 20px; } nav a { margin-right: 16px; color: #2259a8; text-decoration: none; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 22px; margin-bottom: 20px; overflow-x: auto; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 20px; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 18px; flex: 1 1 110px; }
.card b { display: block; font-size: 27px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.card.main { background: #16324f; color: #fff; } .card.main span { color: #c5d3e2; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); font-size: 13px; padding: 4px 8px;
  border-bottom: 2px solid var(--line); white-space: nowrap; }
th[data-sort] { cursor: pointer; } th[data-sort]:hover { color: var(--ink); }
td { padding: 3px 8px; text-align: right; border-bottom: 1px solid #f0f1f3; }
th.name, td.name, td.bar { text-align: left; }
td.name i, .key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px;
  margin-right: 8px; vertical-align: -1px; border: 1px solid rgba(0, 0, 0, .2); }
td.bar svg { display: block; overflow: visible; }
tr.group td { font-weight: 600; background: #f7f8fa; border-bottom: 2px solid var(--line); }
tr.absent td { color: #b3b8bf; }
.track { fill: #eceef1; }
line.mark { stroke: #23262b; stroke-width: 2; }
circle.mark { fill: #fff; stroke: #23262b; stroke-width: 1.6; }
svg { max-width: none; font: 12px system-ui, "DejaVu Sans", sans-serif; fill: var(--ink); }
.grid { stroke: var(--line); } .axis { fill: var(--soft); font-size: 11px; }
.value { font-size: 12px; font-weight: 600; } .cell { font-size: 9.5px; }
.key { margin-right: 18px; color: var(--soft); font-size: 13px; white-space: nowrap; }
.side { display: flex; flex-wrap: wrap; gap: 28px; align-items: flex-start; }
.side > div { flex: 1 1 380px; }
figure { margin: 0 0 22px; } figure:last-child { margin: 0; }
figcaption { margin-bottom: 6px; } figcaption b { font-size: 16px; margin-right: 10px; }
figcaption span { color: var(--soft); }
.panels { display: flex; gap: 8px; flex-wrap: wrap; }
.panels div { flex: 1 1 250px; min-width: 0; color: var(--soft); font-size: 12px; }
.panels img { display: block; width: 100%; border-radius: 5px; }
.notes li { margin-bottom: 4px; }
.share { display: inline-block; height: 9px; background: #c4262e; border-radius: 2px;
  margin-right: 6px; }
"""

SCRIPT = """
document.querySelectorAll("th[data-sort]").forEach((head) => head.addEventListener("click", () => {
  const up = head.dataset.sort === "down";
  head.dataset.sort = up ? "up" : "down";
  const column = Array.from(head.parentNode.children).indexOf(head);
  const value = (row) => {
    const text = row.children[column].textContent.trim();
    return text === "-" ? -1 : head.classList.contains("name") ? text : parseFloat(text);
  };
  head.closest("table").querySelectorAll("tbody").forEach((body) => {
    const rows = Array.from(body.querySelectorAll("tr.class"));
    rows.sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      const order = typeof x === "string" ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    });
    rows.forEach((row) => body.appendChild(row));
  });
}));
"""
