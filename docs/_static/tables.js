// Tell each cell of a table the name of its column: on a phone, the style sheet shows a row as a card.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.docutils")) {
    const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
    if (names.length < 2) continue;
    table.classList.add("stacked");
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.children].forEach((cell, number) => {
        if (names[number]) cell.dataset.column = names[number];
        if (!cell.textContent.trim()) cell.replaceChildren(); // so that the style sheet can tell
      });
    }
  }
});
