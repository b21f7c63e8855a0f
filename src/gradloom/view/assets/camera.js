// Where the reader looks: pan, zoom, and following what happens.

"use strict";

const camera = (canvas, plane) => {
  const RIM = 8; // px kept free around what is followed
  let [x, y, k] = [0, 0, 1];

  const apply = () => plane.setAttribute("transform", `translate(${x} ${y}) scale(${k})`);
  const area = () => canvas.getBoundingClientRect();

  const move = (dx, dy) => {
    x += dx;
    y += dy;
    apply();
  };

  // Closer by a factor, keeping a point (by default the middle) in its place.
  const zoom = (factor, at = null) => {
    const { width, height } = area();
    const [px, py] = at || [width / 2, height / 2];
    const closer = Math.max(0.08, Math.min(4, k * factor));
    [x, y] = [px - (px - x) * (closer / k), py - (py - y) * (closer / k)];
    k = closer;
    apply();
  };

  // Show everything, but no smaller than `least`.
  const fit = ([left, top, right, bottom], least = 0.25) => {
    const { width, height } = area();
    k = Math.max(least, Math.min(1.3, width / (right - left), height / (bottom - top)));
    const [wide, high] = [k * (right - left), k * (bottom - top)];
    x = Math.max((width - wide) / 2, 6) - k * left;
    y = Math.max((height - high) / 2, 0) - k * top;
    apply();
  };

  // Bring a unit into sight, and with it its neighbours if all fit, moving as little as need be.
  const follow = (unit, around = []) => {
    if (!unit) return;
    const { width, height } = area();
    const bounds = (units) => [
      x + k * Math.min(...units.map((u) => u.left)),
      y + k * Math.min(...units.map((u) => u.y)),
      x + k * Math.max(...units.map((u) => u.x + u.width)),
      y + k * Math.max(...units.map((u) => u.y + u.height)),
    ];
    const all = bounds([unit, ...around]);
    const fits = all[2] - all[0] <= width - 2 * RIM && all[3] - all[1] <= height - 2 * RIM;
    const [left, top, right, bottom] = fits ? all : bounds([unit]);
    const shift = (low, high, size) =>
      low < RIM ? RIM - low : high > size - RIM ? size - RIM - high : 0;
    move(shift(left, right, width), shift(top, bottom, height));
  };

  // The pointer: one finger moves, two zoom. A click that followed a drag is none.
  const pointers = new Map();
  let dragged = 0;
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    dragged = 0;
  });
  window.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const here = [event.clientX, event.clientY];
    const [dx, dy] = [here[0] - last[0], here[1] - last[1]];
    dragged += Math.hypot(dx, dy);
    if (pointers.size === 1) move(dx, dy);
    else {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
      const { left, top } = area();
      zoom(apart(here) / Math.max(apart(last), 1), [other[0] - left, other[1] - top]);
    }
    pointers.set(event.pointerId, here);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    window.addEventListener(name, (event) => pointers.delete(event.pointerId));
  }
  const wheel = (event) => {
    event.preventDefault();
    const { left, top } = area();
    const speed = event.deltaMode ? 0.05 : 0.0015; // lines or pixels
    zoom(Math.exp(-event.deltaY * speed), [event.clientX - left, event.clientY - top]);
  };
  canvas.addEventListener("wheel", wheel, { passive: false });

  return { move, zoom, fit, follow, wasDragged: () => dragged > 6 };
};
