"use strict";
// The one script: parts of a page that change while a run goes on are fetched again, a search that was too early is made again,
// and a chosen filter works at once.

const MILLISECONDS = 2000;

async function refresh(part) {
  if (document.hidden) return;
  try {
    const reply = await fetch(part.dataset.src);
    if (!reply.ok) throw new Error(String(reply.status));
    const before = part.querySelector("[data-state]")?.dataset.state;
    part.innerHTML = await reply.text(); // made and escaped by our own server
    part.classList.remove("stale");
    if (part.querySelector("[data-state]")?.dataset.state !== before) location.reload();
  } catch {
    part.classList.add("stale"); // the server has ended, or is busy
  }
}

for (const part of document.querySelectorAll("[data-src]")) setInterval(refresh, MILLISECONDS, part);

const again = document.querySelector("[data-again]");
if (again) setTimeout(() => location.reload(), Number(again.dataset.again));

for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("change", (event) => {
    if (event.target instanceof HTMLSelectElement) form.requestSubmit();
  });
  // Conditions that are not set need not stand in the address.
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) if (!value || (name === "order" && value === "first")) event.formData.delete(name);
  });
}
