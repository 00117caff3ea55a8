"use strict";
// The page is complete without this: it adds the search and counts what is shown.
(() => {
  const form = document.getElementById("filter");
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const items = [...document.querySelectorAll("[data-status]")];
  const cards = items.filter((item) => item.matches("article"));
  const update = () => {
    const status = form.elements.show.value;
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const item of items) {
      const fits = words.every((word) => item.dataset.text.includes(word));
      item.hidden = !fits || (status !== "all" && item.dataset.status !== status);
    }
    const visible = cards.filter((card) => !card.hidden).length;
    shown.textContent =
      visible === cards.length ? `${visible} cases` : `${visible} of ${cards.length} cases shown`;
  };
  document.getElementById("search-line").hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
})();
