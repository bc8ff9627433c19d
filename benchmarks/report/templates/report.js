"use strict";
(() => {
  const table = document.getElementById("candidates");
  const body = table.tBodies[0];
  const value = (row, column) => row.cells[column].dataset.value;
  const sort = (head, column) => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    table.querySelectorAll("th[aria-sort]").forEach((one) => one.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const number = head.dataset.kind === "number";
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a, column), value(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");  // what is missing stands last either way
      return (rising ? 1 : -1) * (number ? x - y : x.localeCompare(y));
    });
    body.append(...rows);
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(head, column));
  });
  const filters = document.getElementById("filters");
  const filter = () => {
    const [text, target, status] = ["text", "target", "status"].map((name) => filters.elements[name].value);
    let shown = 0;
    for (const row of body.rows) {
      const fits = (!target || row.dataset.target === target) && (!status || row.dataset.status === status);
      row.hidden = !(fits && row.textContent.toLowerCase().includes(text.toLowerCase()));
      shown += !row.hidden;
    }
    document.getElementById("count").textContent = `${shown} of ${body.rows.length} rows shown`;
  };
  filters.hidden = false;
  filters.addEventListener("input", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
