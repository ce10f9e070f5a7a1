"use strict";
// Sorting and filtering of tables; without it the page is whole, only still.

const NUMBER = /^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?(?=[%x]?(\s|$|\())/i;

function key(row, column) {
  const text = row.cells[column].textContent.trim();
  const found = text.replace(/^[<>]\s*/, "").match(NUMBER);
  return found ? parseFloat(found[0].replaceAll(",", "")) : text;
}

function compare(a, b) {
  if (a === "" || b === "") return (a === "") - (b === "");
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, header) {
  const up = header.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0];
  const last = [...body.rows].filter((row) => row.classList.contains("sum"));
  const keyed = [...body.rows].filter((row) => !last.includes(row)).map((row) => [key(row, header.cellIndex), row]);
  keyed.sort(([a], [b]) => (a === "" || b === "" || up ? compare(a, b) : compare(b, a)));
  body.append(...keyed.map(([, row]) => row), ...last);
}

for (const table of document.querySelectorAll("table.sortable")) {
  if (table.tBodies[0].rows.length < 3) continue;
  for (const header of table.tHead.rows[0].cells) {
    if (!header.textContent.trim()) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, header));
    header.append(button);
  }
}

for (const box of document.querySelectorAll(".filter")) {
  const rows = [...box.parentElement.querySelector("tbody").rows];
  const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase());
  const told = box.querySelector("output");
  box.hidden = false;
  box.querySelector("input").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, at) => {
      row.hidden = !words.every((word) => texts[at].includes(word));
      shown += !row.hidden;
    });
    told.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
  });
}
