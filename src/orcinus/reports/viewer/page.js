"use strict";
// The only script. It reloads the parts of a page that change during a run, repeats a search that
// was not complete, submits a filter as soon as it is chosen, and sorts tables.

const MILLISECONDS = 2000;

async function refresh(part) {
  if (document.hidden) return;
  try {
    const reply = await fetch(part.dataset.src);
    if (!reply.ok) throw new Error(String(reply.status));
    const before = part.querySelector("[data-state]")?.dataset.state;
    part.innerHTML = await reply.text(); // rendered and escaped by our own server
    part.classList.remove("stale");
    if (part.querySelector("[data-state]")?.dataset.state !== before) location.reload();
  } catch {
    part.classList.add("stale"); // the server has stopped, or is busy
  }
}

for (const part of document.querySelectorAll("[data-src]")) {
  setInterval(refresh, MILLISECONDS, part);
}

// Tables whose heads are buttons: a click sorts the rows, by number where both cells are numbers.
function cell(row, column) {
  const text = row.cells[column].textContent.trim();
  const number = Number(text.replace(/[,%$\s]/g, ""));
  return { text, number: text && text !== "–" ? number : NaN };
}

function sortBy(table, head, column) {
  const ascending = head.getAttribute("aria-sort") === "descending";
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    const [left, right] = [cell(a, column), cell(b, column)];
    const known = [left, right].map((found) => !Number.isNaN(found.number));
    const order = known[0] && known[1] ? left.number - right.number
      : known[0] !== known[1] ? (known[0] ? 1 : -1) : left.text.localeCompare(right.text);
    return ascending ? order : -order;
  });
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (table.querySelector(`tbody td:nth-child(${column + 1}) input`)) return; // boxes to tick
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sortBy(table, head, column));
  });
}

const again = document.querySelector("[data-again]");
if (again) setTimeout(() => location.reload(), Number(again.dataset.again));

for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("change", (event) => {
    if (event.target instanceof HTMLSelectElement) form.requestSubmit();
  });
  // Conditions that are not set are left out of the address.
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) {
      if (!value || (name === "order" && value === "first")) event.formData.delete(name);
    }
  });
}
