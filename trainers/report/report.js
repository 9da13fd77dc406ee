"use strict";
// The replies table: filters, search, columns. Without this the page shows every row and column.
(() => {
  const table = document.querySelector("table.replies");
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  const at = document.getElementById("at");
  const query = document.getElementById("query");
  const why = document.getElementById("why");
  const buttons = [...document.querySelectorAll("[data-filter]")];
  const boxes = [...document.querySelectorAll("[data-column]")];
  const FIRST = 2; // cells before the replies: inputs, target
  const MAX_WHYS = 40;
  let filter = "all";

  const reply = (row, column) => row.cells[column + FIRST];
  for (const row of rows) {
    for (const cell of row.querySelectorAll("td[data-same]")) {
      cell.innerHTML = row.querySelector(`td[data-k="${cell.dataset.k}"]`).innerHTML;
    }
  }
  const contents = rows.map((row) => [...row.cells].map((c) => c.textContent.toLowerCase()));

  const tests = {
    all: () => true,
    wrong: (row, column) => reply(row, column).classList.contains("no"),
    changed: (row, column) => reply(row, column).dataset.k !== reply(row, 0).dataset.k,
  };

  function update() {
    const column = Number(at.value);
    const wanted = query.value.trim().toLowerCase();
    const visible = (i) => i < FIRST || boxes[i - FIRST].checked;
    const found = rows.filter(
      (row, r) =>
        (!why.value || reply(row, column).dataset.why === why.value) &&
        contents[r].some((t, i) => visible(i) && t.includes(wanted)),
    );
    let shown = 0;
    for (const row of rows) row.hidden = true;
    for (const row of found) {
      row.hidden = !tests[filter](row, column);
      shown += row.hidden ? 0 : 1;
    }
    for (const button of buttons) {
      const name = button.dataset.filter;
      const matching = found.filter((row) => tests[name](row, column));
      button.setAttribute("aria-pressed", String(name === filter));
      button.querySelector("span").textContent = matching.length;
    }
    document.getElementById("shown").textContent = `${shown} of ${rows.length} rows`;
    document.getElementById("empty").hidden = shown > 0;
  }

  // The reasons at the chosen column, the most frequent first.
  function listWhys() {
    const counts = new Map();
    for (const row of rows) {
      const reason = reply(row, Number(at.value)).dataset.why;
      if (reason) counts.set(reason, (counts.get(reason) ?? 0) + 1);
    }
    const sorted = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MAX_WHYS);
    const kept = counts.has(why.value) ? why.value : "";
    const options = sorted.map(([reason, count]) => new Option(`${reason} (${count})`, reason));
    why.replaceChildren(new Option("any", ""), ...options);
    why.value = kept;
  }

  function showColumns() {
    for (const box of boxes) table.classList.toggle(`hide-${box.dataset.column}`, !box.checked);
    update();
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      filter = button.dataset.filter;
      update();
    });
  }
  for (const box of boxes) box.addEventListener("change", showColumns);
  query.addEventListener("input", update);
  why.addEventListener("change", update);
  at.addEventListener("change", () => {
    boxes[Number(at.value)].checked = true;
    listWhys();
    showColumns();
  });
  document.getElementById("controls").hidden = false;
  listWhys();
  showColumns();
})();
