"use strict";

// Tables: a click on a column's head sorts by it, the next one turns the order round. What is missing stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const numeric = "numeric" in head.dataset;
    const key = (row) => {
      const cell = row.cells[column];
      if (!numeric) return cell.textContent.trim();
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };
    head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}

// Plots: the values of a spot beside the pointer, or beside the spot that has the focus.
const tip = document.getElementById("tip");

function place(x, y) {
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width < innerWidth ? x + 14 : x - 14 - width;
  const top = y + 14 + height < innerHeight ? y + 14 : y - 14 - height;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

function show(spot, x, y) {
  if (!spot) return hide();
  tip.textContent = spot.getAttribute("aria-label");
  tip.hidden = false;
  const box = spot.getBoundingClientRect();
  place(x ?? (box.left + box.right) / 2, y ?? box.top + box.height / 3);
}

function hide() {
  tip.hidden = true;
}

for (const plot of document.querySelectorAll("svg.plot")) {
  const spots = [...plot.querySelectorAll(".spot")];
  for (const spot of spots) {
    const title = spot.querySelector("title");
    // the browser would show its own tip as well
    spot.setAttribute("aria-label", title.textContent);
    title.remove();
    spot.setAttribute("role", "img");
    spot.setAttribute("tabindex", spot === spots[0] ? "0" : "-1");
  }
  plot.addEventListener("pointermove", (event) => show(event.target.closest(".spot"), event.clientX, event.clientY));
  plot.addEventListener("pointerdown", (event) => show(event.target.closest(".spot"), event.clientX, event.clientY));
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("focusin", (event) => show(event.target.closest(".spot")));
  plot.addEventListener("focusout", hide);
  plot.addEventListener("keydown", (event) => {
    const now = spots.indexOf(event.target.closest(".spot"));
    const steps = { ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1, Home: 0, End: spots.length - 1 };
    if (event.key === "Escape") hide();
    const next = spots[steps[event.key]];
    if (now < 0 || !next) return;
    event.preventDefault();
    spots[now].setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  });
}
// what has the focus may have been scrolled into view
addEventListener("scroll", () => show(document.activeElement.closest(".spot")), { passive: true, capture: true });
