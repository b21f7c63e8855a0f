// The settings in the address: what stands behind the #, readable, and only what differs.

/** The settings that an address holds; what it does not, stays as it is. */
export function read(defaults) {
  const settings = {};
  for (const [name, text] of new URLSearchParams(location.hash.slice(1))) {
    const kind = defaults[name];
    if (name === "points") {
      settings.points = text ? text.split("_").map((point) => point.split(",").map(Number)) : [];
    } else if (name === "layers") {
      settings.layers = text ? text.split(",").map(Number) : [];
    } else {
      settings[name] = typeof kind === "number" ? Number(text) : text;
    }
  }
  return settings;
}

/** Writes the settings that differ from the defaults into the address. */
export function write(settings, defaults) {
  const words = [];
  for (const [name, value] of Object.entries(settings)) {
    if (JSON.stringify(value) === JSON.stringify(defaults[name])) continue;
    const text = name === "points" ? value.map((point) => point.join(",")).join("_") : `${value}`;
    words.push(`${name}=${text}`);
  }
  history.replaceState(null, "", words.length ? `#${words.join("&")}` : location.pathname);
}
