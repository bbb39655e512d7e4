// Sorts tables and shows pictures at full size. The page reads the same without it.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.querySelectorAll("thead th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header));
  }
}

function sortBy(table, header) {
  const column = header.cellIndex;
  const isText = header.dataset.sort === "text";
  // Numbers from the top, names from A, and the other way round when asked again.
  const first = isText ? "ascending" : "descending";
  const second = isText ? "descending" : "ascending";
  const order = header.getAttribute("aria-sort") === first ? second : first;
  for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const body = table.tBodies[0];
  const sign = order === "ascending" ? 1 : -1;
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const rows = [...body.rows].sort((left, right) => {
    const [a, b] = [value(left), value(right)];
    if (isText) return sign * a.localeCompare(b);
    if (a === "" || b === "") return (a === "") - (b === ""); // What has no number stays at the end.
    return sign * (Number(a) - Number(b));
  });
  body.append(...rows);
}

const viewer = document.getElementById("viewer");
const shown = viewer.querySelector("img");
let current = null;

function show(button) {
  const picture = button.querySelector("img");
  current = button;
  shown.src = picture.src;
  shown.alt = picture.alt;
  viewer.querySelector("figcaption").textContent = picture.alt;
  if (!viewer.open) viewer.showModal();
}

function step(by) {
  const buttons = [...document.querySelectorAll("button.zoom")];
  show(buttons[(buttons.indexOf(current) + by + buttons.length) % buttons.length]);
}

for (const button of document.querySelectorAll("button.zoom")) button.addEventListener("click", () => show(button));
viewer.addEventListener("click", (event) => {
  if (event.target === viewer || event.target === shown) viewer.close();
});
viewer.querySelector("[data-step='-1']").addEventListener("click", () => step(-1));
viewer.querySelector("[data-step='1']").addEventListener("click", () => step(1));
viewer.querySelector("[data-close]").addEventListener("click", () => viewer.close());
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
viewer.addEventListener("close", () => {
  current.scrollIntoView({ block: "nearest" });
  current.focus();
});
