// A table that sorts by any column, and shows some of its rows until all are asked for.

const FIRST = 200; // rows; thousands would make each keystroke slow
const collator = new Intl.Collator("en", { numeric: true }); // 35x35 before 147x147
const sortings = {}; // by name of table: {column, direction}; they outlive a redrawn table

// Rows in order; what is missing comes last, up or down, and equals keep their places.
function sorted(rows, value, direction) {
  const missing = (x) => x === null || x === undefined || x === "";
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
  return rows
    .map((row) => [row, value(row)])
    .sort(([, a], [, b]) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return direction === "ascending" ? compare(a, b) : compare(b, a);
    })
    .map(([row]) => row);
}

// A column: {name, title, value(row), text(row), numeric, mark(cell, row)}; `text` is what is seen,
// `value` what is sorted.
function sortableTable(name, columns, rows) {
  const body = element("tbody");
  const heads = columns.map((column, index) => {
    const button = element("button", { type: "button", title: column.title ?? "" }, column.name);
    button.addEventListener("click", () => sortBy(index));
    return element("th", { scope: "col", class: column.numeric ? "number" : "" }, button);
  });
  const more = element("button", { type: "button", class: "more" });
  let limit = FIRST;
  more.addEventListener("click", () => {
    limit = Infinity;
    show();
  });

  function sortBy(index) {
    const last = sortings[name];
    const first = columns[index].numeric ? "descending" : "ascending";
    const other = last?.direction === "ascending" ? "descending" : "ascending";
    sortings[name] = {
      column: columns[index].name,
      direction: last?.column === columns[index].name ? other : first,
    };
    show();
  }

  function show() {
    const { column, direction } = sortings[name] ?? {};
    const chosen = columns.find((one) => one.name === column);
    heads.forEach((head, index) => {
      if (chosen === columns[index]) head.setAttribute("aria-sort", direction);
      else head.removeAttribute("aria-sort");
    });
    const order = chosen ? sorted(rows, chosen.value, direction) : rows;
    body.replaceChildren(...order.slice(0, limit).map(line));
    more.hidden = rows.length <= limit;
    more.textContent = `show all ${rows.length} rows`;
  }

  function line(row) {
    const cells = columns.map((column) => {
      const words = column.text ? column.text(row) : column.value(row);
      const cell = element("td", { class: column.numeric ? "number" : "" }, words ?? "");
      column.mark?.(cell, row);
      return cell;
    });
    return element("tr", {}, ...cells);
  }

  show();
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body);
  const scrolled = { class: "wide", tabindex: "0", role: "region", "aria-label": name };
  return [element("div", scrolled, table), more];
}
