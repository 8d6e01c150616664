"use strict";
// The only script. It reloads the parts of a page that change during a run, repeats a search that
// was not complete, and submits a filter as soon as it is chosen.

const MILLISECONDS = 2000;

async function refresh(part) {
  if (document.hidden) return;
  try {
    const reply = await fetch(part.dataset.src);
    if (!reply.ok) throw new Error(String(reply.status));
    const before = part.querySelector("[data-state]")?.dataset.state;
    part.innerHTML = await reply.text(); // rendered and escaped by our own server
    part.classList.remove("stale");
    if (part.querySelector("[data-state]")?.dataset.state !== before) location.reload();
  } catch {
    part.classList.add("stale"); // the server has stopped, or is busy
  }
}

for (const part of document.querySelectorAll("[data-src]")) {
  setInterval(refresh, MILLISECONDS, part);
}

const again = document.querySelector("[data-again]");
if (again) setTimeout(() => location.reload(), Number(again.dataset.again));

for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("change", (event) => {
    if (event.target instanceof HTMLSelectElement) form.requestSubmit();
  });
  // Conditions that are not set are left out of the address.
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) {
      if (!value || (name === "order" && value === "first")) event.formData.delete(name);
    }
  });
}
