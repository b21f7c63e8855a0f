// Find a node by its label, number, operation or line.

"use strict";

const search = (doc, tell, input, list, found) => {
  const SHOWN = 20;
  const MOST = 200;
  const { escaped } = scene;
  let chosen = 0;

  const hits = (text) => {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const all = [];
    for (let i = 0; i < doc.data.length && all.length < MOST; i++) {
      const name = tell.nameOf(i).toLowerCase();
      const words = `${name} ${tell.opOf(i)} ${tell.placeOf(i)}`.toLowerCase();
      if (words.includes(wanted)) all.push([name === wanted ? 0 : 1, i]);
    }
    return all.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, i]) => i);
  };

  const line = (i, k) => {
    const modules = tell.foldsAround(i).filter((fold) => doc.folds[fold].kind === "module");
    const path = modules.map(tell.foldName).join(" › ");
    return `<li role="option" data-node="${i}" aria-selected="${k === chosen}">
      <b>${escaped(tell.nameOf(i))}</b> ${escaped(tell.opOf(i))}
      <small>${escaped(path)} ${escaped(tell.placeOf(i))}</small></li>`;
  };

  const show = () => {
    const all = hits(input.value);
    list.hidden = !input.value.trim();
    input.setAttribute("aria-expanded", !list.hidden);
    chosen = Math.max(0, Math.min(chosen, Math.min(all.length, SHOWN) - 1));
    const count = all.length >= MOST ? `${MOST} or more` : all.length;
    list.innerHTML =
      all.slice(0, SHOWN).map(line).join("") +
      (all.length ? "" : "<li><small>nothing found</small></li>") +
      (all.length > SHOWN ? `<li><small>${count} found</small></li>` : "");
    return all;
  };

  const end = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", false);
  };

  input.addEventListener("input", () => {
    chosen = 0;
    show();
  });
  input.addEventListener("keydown", (event) => {
    const down = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (down) {
      chosen += down;
      show();
      event.preventDefault();
    } else if (event.key === "Enter") {
      const node = show()[chosen];
      if (node === undefined) return;
      end();
      found(node);
    } else if (event.key === "Escape") {
      end();
      found(null);
    }
    event.stopPropagation();
  });
  input.addEventListener("blur", () => setTimeout(end, 150));
  list.addEventListener("pointerdown", (event) => {
    const item = event.target.closest("[data-node]");
    if (!item) return;
    event.preventDefault();
    end();
    found(Number(item.dataset.node));
  });
};
