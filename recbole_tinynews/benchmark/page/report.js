"use strict";
// Tables that sort: a click on a head sorts by its column, the next one turns the order round, and
// a third one restores the first order. Empty cells come last.

function sortTable(table, column, direction) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const text = (row) => (row.cells[column] ? row.cells[column].textContent.trim() : "");
  const number = (row) => (row.cells[column] ? parseFloat(row.cells[column].dataset.value) : NaN);
  const numeric = rows.some((row) => !Number.isNaN(number(row)));
  const empty = (row) => (numeric ? Number.isNaN(number(row)) : text(row) === "");
  const place = (one, other) => Number(one.dataset.place) - Number(other.dataset.place);
  rows.sort((one, other) => {
    if (direction === 0) return place(one, other);
    if (empty(one) || empty(other)) return empty(one) - empty(other) || place(one, other);
    const order = numeric
      ? number(one) - number(other)
      : text(one).localeCompare(text(other), "en", { numeric: true });
    return direction * order || place(one, other);
  });
  table.classList.toggle("sorted", direction !== 0);
  body.append(...rows);
}

for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    // numbers show the largest first, names the first one
    const first = head.classList.contains("text") ? ["ascending", "descending"] : ["descending", "ascending"];
    button.addEventListener("click", () => {
      const next = first[first.indexOf(head.getAttribute("aria-sort")) + 1];
      for (const each of heads) each.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      sortTable(table, column, { ascending: 1, descending: -1 }[next] ?? 0);
    });
  });
}
