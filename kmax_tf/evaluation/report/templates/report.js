// Sorts the table of classes by the column whose heading is clicked.
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
