// What a page lacks for readers who do not see it, see it badly, or have no mouse: one line for each fault.
(() => {
  const faults = [];
  const shown = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true, contentVisibilityAuto: true });
  const named = (e) => (e.getAttribute("aria-label") || e.textContent || "").trim() || [...(e.labels || [])].some((l) => l.textContent.trim());

  // Contrast: WCAG 2.2, 1.4.3; text of 24 px, or of 18.66 px in bold, needs 3, any other 4.5.
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * under[i]);
  const behind = (e) => {
    const layers = [];
    for (let at = e; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let looked = 0;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const e = node.parentElement;
    if (!node.textContent.trim() || !shown(e) || e.closest("script, style, title")) continue;
    const style = getComputedStyle(e);
    const page = behind(e);
    const ink = over(rgba(e.closest("svg") ? style.fill : style.color), page);
    const [bright, dim] = [light(ink), light(page)].sort((a, b) => b - a);
    const ratio = (bright + 0.05) / (dim + 0.05);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    looked += 1;
    if (ratio < needed) faults.push(`contrast ${ratio.toFixed(2)} of "${node.textContent.trim().slice(0, 40)}"`);
  }
  if (!looked) faults.push("no text was looked at");

  if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");
  let last = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    const level = Number(heading.tagName[1]);
    if (level > last + 1) faults.push(`h${level} "${heading.textContent}" after h${last}`);
    last = level;
  }
  if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
  for (const picture of document.querySelectorAll("img:not([alt]), svg:not([role=img]), [role=img]:not([aria-label])"))
    faults.push(`no alternative text: ${picture.outerHTML.slice(0, 80)}`);
  for (const control of document.querySelectorAll("a[href], button, input, select, summary, progress"))
    if (shown(control) && !named(control)) faults.push(`no name: ${control.outerHTML.slice(0, 80)}`);
  for (const head of document.querySelectorAll("thead"))
    if (head.querySelector("td")) faults.push(`a cell without a role heads a column: ${head.innerText}`);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size < ids.length) faults.push("an id stands twice");
  return faults;
})()
